"""A clock that moves when a test says so."""


class FakeTime:
    """Seconds that only grow, as `time.monotonic` and `time.sleep` have them; also callable itself.

    Attributes:
        now: The time.
        sleeps: How long was slept, one entry a time.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    __call__ = monotonic
