"""Scores as they are drawn: how many held-out good pictures and how many challenge parts lie where.

Kept with the model in the registry, since the dashboard has no model folders.
"""

import numpy as np
from numpy.typing import ArrayLike

_BINS = 30
_HIGHEST_SHARE = 0.98

EDGES, GOOD, CHALLENGE = "edges", "good", "challenge"


def score_histogram(good: ArrayLike, challenge: ArrayLike, threshold: float) -> dict[str, list[float]]:
    """Count scores in bins of equal width; the last bin has all beyond it, too.

    Args:
        good: (N,) float, of held-out good pictures; N > 0.
        challenge: (M,) float, of challenge parts; what is not finite is left out.
        threshold: Of the model.

    Returns:
        `edges`, 31 of them, and by kind the 30 counts.
    """
    held_out = np.asarray(good, np.float64)
    shown = np.asarray(challenge, np.float64)
    shown = shown[np.isfinite(shown)]
    highest = max(float(np.quantile(np.concatenate([held_out, shown]), _HIGHEST_SHARE)), threshold)
    edges = np.linspace(min(float(held_out.min()), *shown.tolist(), threshold), highest, _BINS + 1)
    counts = {
        kind: np.histogram(np.minimum(scores, highest), edges)[0].astype(np.float64).tolist()
        for kind, scores in ((GOOD, held_out), (CHALLENGE, shown))
    }
    return {EDGES: edges.tolist(), **counts}
