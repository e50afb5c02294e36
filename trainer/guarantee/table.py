"""The measured guarantee as Markdown, in percent, and what it says in plain words."""

from collections.abc import Iterator, Sequence

from trainer.guarantee.cameras import CameraRow
from trainer.guarantee.rates import Row
from trainer.guarantee.run import GuaranteeReport, Measured
from trainer.guarantee.thresholds import OF_PICTURES, Share, Way

_HEADER = (
    "pictures",
    "split by, threshold from",
    "bound",
    "can promise",
    "theory's mean",
    "measured: pictures",
    "pictures, group first",
    "groups with any",
    "± by fit",
    "95 % of splits",
    "by theory",
    "splits above",
    "by theory",
    "true rate of a threshold, 95 %",
)

_CAMERA_HEADER = (
    "pictures",
    "camera",
    "bound",
    "calibration pictures",
    "splits with a threshold of its own",
    "by the threshold of all",
    "± by fit",
    "as judged",
    "± by fit",
    "theory's mean",
)

_CAMERA_NOTES = """\
- False alarms at each camera in %: by the threshold of all cameras together; and as a scorer judges, by the camera's own one
  where its calibration pictures suffice for the rate, else by that of all. Theory's mean is of its own threshold. Whole groups
  are split, where they are known.
"""

_NOTES = """\
- Rates in %. **Bold** is what the bound of a row is of: of all pictures; of the pictures of a group that is drawn first; or of
  groups with any picture above the threshold. A bound in brackets was asked for but is out of reach: "can promise" is in force.
- The guarantee is on average over calibration sets. One calibration set is a draw: the true rate of its threshold is Beta
  distributed, at most the last column for 95 % of thresholds. What a split measures has the luck of its test pictures on top.
- Split picture by picture, both sides are exchangeable because they were dealt so: the row shows that thresholds are computed
  as they should be, and what to expect of more pictures of the same parts. It says nothing of new parts.
- With several pictures of a part or a run, exchangeable are the groups. A threshold from all pictures of K groups then holds at
  rate + 1/(K + 1) only (for groups of one size); theory's columns of that row are those of independent pictures.
- "New groups tested" (with `--mixed`): pictures of the same parts were learned from and calibrated on, as if parts did not
  repeat, and parts that nobody saw were tested, one split a fit. Nothing bounds that rate.
- One picture of each group, or all pictures with one weight a group, bound the rate of pictures of new groups; the highest of
  each bounds the rate of new groups with any alarm, which is the rate of good parts. All three need 1/rate - 1 groups.
"""


def guarantee_markdown(report: GuaranteeReport) -> str:
    """Return the table, what happened, how to read it and what it was made with."""
    rows = [_cells(measured, row) for measured in report.measured for row in measured.rows]
    table = _table(_HEADER, rows)
    said = "\n".join(f"- {line}" for measured in report.measured for line in _findings(measured))
    cameras = [_camera_cells(measured, row) for measured in report.measured for row in measured.cameras]
    seen_by = f"{_table(_CAMERA_HEADER, cameras)}\n\n{_CAMERA_NOTES}\n" if cameras else ""
    return f"{table}\n\n{said}\n\n{_NOTES}\n{seen_by}{_how(report)}\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _cells(measured: Measured, row: Row) -> list[str]:
    theory = row.expected
    return [
        measured.name,
        row.way.value,
        percent(row.rate) if row.enough == 1 else f"({percent(row.rate)})",
        percent(row.possible),
        _theory_mean(row),
        *(_share(row, share) for share in Share),
        _figure(row.standard_error),
        f"{percent(row.low)} to {percent(row.high)}",
        "–" if theory is None else f"{percent(theory.low)} to {percent(theory.high)}",
        percent(row.exceeding),
        *([percent(theory.exceeding), percent(theory.true_rate)] if theory is not None else ["–", "–"]),
    ]


def _camera_cells(measured: Measured, row: CameraRow) -> list[str]:
    return [
        measured.name,
        row.camera,
        percent(row.rate),
        f"{row.calibration:.0f}",
        percent(row.own),
        percent(row.by_all),
        _figure(row.by_all_error),
        f"**{percent(row.measured)}**",
        _figure(row.error),
        _figure(row.expected),
    ]


def _figure(rate: float | None) -> str:
    return "–" if rate is None else percent(rate)


def _theory_mean(row: Row) -> str:
    return f"≤ {percent(row.bound)}" if row.expected_mean is None else percent(row.expected_mean)


def _share(row: Row, share: Share) -> str:
    if share not in row.means:
        return "–"
    text = percent(row.means[share])
    return f"**{text}**" if share is row.promised else text


def _findings(measured: Measured) -> Iterator[str]:
    """Per folder: what was looked at, where the bound did not hold, and for which rates there was too little."""
    groups = "" if measured.groups is None else f" in {measured.groups} groups"
    yield f"{measured.name}: {measured.pictures} pictures{groups}; each fit learned from {measured.learned:.0f}."
    for row in measured.rows:
        if row.measured > row.bound:
            error = "" if row.standard_error is None else f" ± {percent(row.standard_error)}"
            yield (
                f"{measured.name}, {row.way.value}: {percent(row.measured)}{error} % measured, above the bound of"
                f" {percent(row.bound)} %{_by_chance(row)}."
            )
    for way in Way:
        short = [row for row in measured.rows if row.way is way and row.enough < 1]
        if short:
            asked, first = ", ".join(percent(row.rate) for row in short), short[0]
            confidence = (
                "" if first.expected is None else f"; {percent(first.expected.true_rate)} % with 95 % confidence"
            )
            yield (
                f"{measured.name}, {way.value}: too few for {asked} %; {first.units:.0f} {_units(way)} can promise"
                f" {percent(first.possible)} %{confidence}. The highest score is the threshold."
            )


def _by_chance(row: Row) -> str:
    """A mean within two standard errors of its bound says nothing against it."""
    if row.standard_error is None or row.measured - row.bound > 2 * row.standard_error:
        return ""
    return " by less than twice its standard error"


def _units(way: Way) -> str:
    return "pictures" if way in OF_PICTURES else "groups"


def _how(report: GuaranteeReport) -> str:
    return (
        f"{report.splits} splits over {report.fits} fits, half of what a fit did not learn from on each side;"
        f" preset {report.preset}, {report.views} views behind a score, {report.training_views} of a training picture,"
        f" extractor {report.extractor} ({report.extractor_sha256[:12]}), seed {report.seed}."
    )


def percent(rate: float) -> str:
    """Two figures that count: 10, 4.8, 0.93."""
    figure = round(100 * rate, 9)
    return f"{figure:.0f}" if figure.is_integer() else f"{figure:.{1 if figure >= 9.95 else 2}f}"
