"""Verdicts as CSV for a spreadsheet: bounded, no cell a formula, times in UTC and as the plant's clocks show them."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo

from infra.spreadsheet import cell
from infra.store.search import Found
from infra.store.verdicts import Verdict

MOST_ROWS = 100_000
ROWS_AT_ONCE = 2000
MOST_LOOKS = MOST_ROWS // ROWS_AT_ONCE + 50  # fifty more than the rows need, of 20,000 verdicts each
_TIMES = ("received_at", "captured_at", "scored_at", "committed_at")
_COLUMNS = (
    "camera",
    "frame_id",
    "part_id",
    "job_id",
    "product",
    "state",
    "reason",
    "score",
    "threshold",
    "p_value",
    "views",
    "model_version",
    "sha256",
    "simulated",
    "archive_ref",
)


def verdict_csv(pages: Iterable[Found], zone: tzinfo, most_rows: int = MOST_ROWS) -> bytes:
    """Return verdicts as CSV in UTF-8, newest first; where some were left out, the last line says so.

    Args:
        pages: What was found, page by page; no more of them are asked for than are needed.
        zone: Of the plant.
        most_rows: Most verdicts.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([f"{name}_{where}" for name in _TIMES for where in ("utc", "plant")] + list(_COLUMNS))
    written, more = 0, False
    for page in pages:
        rows = page.verdicts[: most_rows - written]
        writer.writerows(list(_cells(one, zone)) for one in rows)
        written += len(rows)
        more = page.more is not None or len(rows) < len(page.verdicts)
        if written >= most_rows:
            break
    if more:
        writer.writerow([f"cut off here, after {written} verdicts: older ones were not looked through"])
    # With the mark, since spreadsheets take a CSV without one for another encoding.
    return out.getvalue().encode("utf-8-sig")


def _cells(one: Verdict, zone: tzinfo) -> Iterator[object]:
    for name in _TIMES:
        at: datetime | None = getattr(one, name)
        for where in (UTC, zone):
            yield "" if at is None else at.astimezone(where).isoformat(timespec="milliseconds")
    for name in _COLUMNS:
        value = getattr(one, name)
        yield cell(value) if isinstance(value, str) else value
