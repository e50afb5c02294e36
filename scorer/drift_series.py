"""One kind of drift of one camera and product: which values are compared with which, and when that is an alarm."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infra.store.tables import DriftKind
from scorer.detector.drift import DriftState, DriftTest

BOUND = 0.01
"""Probability that a stable stream of one kind, camera and product ever alarms, until a new model or an acknowledgement."""

VALUES = {DriftKind.SCORE: ("score",), DriftKind.QUALITY: ("focus", "brightness", "contrast")}
OWN_PARTS = 200
LEAST_REFERENCE = 20
_ALARM = -math.log10(BOUND)
_PARTS_REMEMBERED = 64


class DriftSeries:
    """Tests the values of one kind, one of each name a part.

    They are compared with calibration values, or, where there are fewer than LEAST_REFERENCE of these, with the stream's own
    first OWN_PARTS parts: what was wrong from the start is then not found. Several names share the bound in equal parts (the
    union of events), since martingales on other random numbers than each other's do not add up to one.

    A part that is seen in several frames counts once, by its first frame, as long as no 64 other parts came in between; a
    frame without a part id is a part.
    """

    def __init__(
        self,
        kind: DriftKind,
        seed: str,
        reference: Sequence[Sequence[float]] = (),
        limit: float | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin, or go on where `state` is from.

        Args:
            kind: What is watched.
            seed: Name of the stream.
            reference: Calibration values, one row a picture; the same as at the beginning where there is a state.
            limit: Parts with a value above it are flagged; see `DriftTest`.
            state: What `to_json` gave.

        Raises:
            CalibrationError: The state is from another comparison.
        """
        self._names = VALUES[kind]
        self._seed = seed
        self._limit = limit
        self._parts: list[str] = list(state["parts"]) if state else []
        self._own: list[list[float]] | None
        if state:
            self._own = state["own"]
        else:
            self._own = [] if _few(reference, limit) else None
        tests = state["tests"] if state else None
        self._tests: list[DriftTest] = []
        if self._own is None:
            self._begin(reference, tests)
        elif tests:
            self._begin(self._own, tests)

    @property
    def compares_with_itself(self) -> bool:
        """Whether there was no calibration to compare with."""
        return self._own is not None

    @property
    def parts(self) -> int:
        """How many parts were tested."""
        return self._tests[0].state.count if self._tests else 0

    @property
    def log10_wealth(self) -> float:
        """What the alarm is told by, as a decimal logarithm: 0 at the beginning or before it, an alarm from 2 on."""
        if not self._tests:
            return 0.0
        return max(test.log10_wealth for test in self._tests) - math.log10(len(self._tests))

    @property
    def alarmed(self) -> bool:
        """Whether it is an alarm now."""
        return self.log10_wealth >= _ALARM

    def add(self, part_id: str | None, values: Sequence[float]) -> None:
        """Take in what one frame shows, unless its part was seen before."""
        if part_id is not None:
            part = hashlib.blake2b(part_id.encode(), digest_size=8).hexdigest()
            if part in self._parts:
                return
            self._parts = [*self._parts, part][-_PARTS_REMEMBERED:]
        if self._tests:
            for test, value in zip(self._tests, values, strict=True):
                test.update(value)
        elif self._own is not None and not self._flagged(values):
            self._own.append(list(values))
            if len(self._own) == OWN_PARTS:
                self._begin(self._own, None)

    def to_json(self) -> dict[str, Any]:
        """Return what has to be remembered."""
        tests = {name: test.state.to_json() for name, test in zip(self._names, self._tests, strict=False)}
        return {"parts": self._parts, "own": self._own, "tests": tests or None}

    def _flagged(self, values: Sequence[float]) -> bool:
        return self._limit is not None and values[0] > self._limit

    def _begin(self, reference: Sequence[Sequence[float]], tests: Mapping[str, Any] | None) -> None:
        for name, column in zip(self._names, np.asarray(reference, dtype=np.float64).T, strict=True):
            state = DriftState.from_json(tests[name]) if tests else None
            self._tests.append(DriftTest(column, f"{self._seed}/{name}", self._limit, state))


def _few(reference: Sequence[Sequence[float]], limit: float | None) -> bool:
    compared = reference if limit is None else [row for row in reference if row[0] < limit]
    return len(compared) < LEAST_REFERENCE
