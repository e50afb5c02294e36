"""What the notifier tells of itself: its metrics, and whether people still hear of alerts."""

import time
from collections.abc import Callable, Iterable

from infra.metrics import NOTIFIER_FAILED, NOTIFIER_MESSAGES, NOTIFIER_TOLD, NOTIFIER_WAITING, Metrics, Service
from infra.monitoring import Freshness


class NoticeWatch:
    """Counts messages; healthy while each target takes what is due to it."""

    def __init__(self, targets: Iterable[str], stale_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin healthy, with nothing counted.

        Args:
            targets: Their names.
            stale_s: For how long a target may be away, in seconds.
            monotonic: The clock, in seconds.
        """
        self.metrics = Metrics(Service.NOTIFIER)
        self._freshness = {target: Freshness(stale_s, monotonic) for target in targets}

    def health(self) -> str | None:
        """Return None while all targets take what is due, else which one does not and why, in one line."""
        for target, freshness in self._freshness.items():
            if why := freshness.health():
                return f"{target}: {why}"
        return None

    def told(self, target: str, alerts: int) -> None:
        """Count a message."""
        self.metrics.count(NOTIFIER_MESSAGES, target=target)
        self.metrics.count(NOTIFIER_TOLD, alerts, target=target)
        self._freshness[target].fresh()

    def nothing_due(self, target: str) -> None:
        """Nothing was to be sent."""
        self._freshness[target].fresh()

    def waiting(self, target: str, alerts: int) -> None:
        """Show how many open alerts a target was not told of."""
        self.metrics.show(NOTIFIER_WAITING, alerts, target=target)

    def away(self, target: str, error: BaseException | None) -> None:
        """Count an attempt that failed."""
        self.metrics.count(NOTIFIER_FAILED, target=target)
        self._freshness[target].stale(str(error))
