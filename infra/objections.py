"""What speaks against a model by what it saw of the line, and how sure one can be of a share."""

from scipy import stats

from infra.store.second_verdicts import Seen

CONFIDENCE = 0.95
SIGNIFICANT = 0.05


def line_objections(seen: Seen, rate: float, *, replaces_another: bool) -> list[str]:
    """Say what speaks against putting a model in force, by what it saw of the line, one line each.

    Args:
        seen: How much it saw, in shadow or by replay.
        rate: False-alarm rate that was asked for.
        replaces_another: Whether another model of the product is in force.
    """
    found = []
    if not seen.frames and replaces_another:
        found.append(
            "nobody knows which verdicts it would change: let it score in shadow (`differline models shadow`), or "
            "`differline replay` frames"
        )
    if too_many(seen.false_alarms, seen.released, rate):
        found.append(
            f"it calls {seen.false_alarms} of {seen.released} released pictures that it never saw a defect, more than "
            f"{rate:.3%} explains"
        )
    return found


def too_many(alarms: int, pictures: int, rate: float) -> bool:
    """Tell whether so many false alarms are unlikely at a rate (one-sided exact binomial test at 5 %)."""
    return pictures > 0 and bool(stats.binomtest(alarms, pictures, rate, alternative="greater").pvalue < SIGNIFICANT)


def exact_interval(found: int, parts: int) -> tuple[float, float]:
    """Return the exact 95 % confidence interval of a share (Clopper and Pearson, 1934), if parts are independent."""
    interval = stats.binomtest(found, parts).proportion_ci(CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)
