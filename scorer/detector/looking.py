"""Looking at pictures: views through the extractor for all products at once, and through each product's own models.

Two models that are shown the very same pictures, one in force and one in shadow, share what the extractor says of them.

Pictures are looked at in rounds. In the first one the picture as it is goes through the extractor once for flow and local model
together; after each round the pictures whose verdict more views could not change are let go.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorer.detector.devices import views_per_chunk as chunk_of
from scorer.detector.early_exit import EarlyExit
from scorer.detector.extractor import FEATURES, Extractor
from scorer.detector.flow import Flow
from scorer.detector.local import CELLS, LocalModel, cells_of, local_scores
from scorer.detector.scoring import negative_log_prior
from scorer.detector.views import ViewPlan, Views, render

Bar = Callable[[NDArray[np.int64], NDArray[np.float64] | None], NDArray[np.float64]]
"""From the places of N pictures, and what the local model says of them, to the flow score, or its log, at which each verdict
changes, (N,)."""


@dataclass(frozen=True)
class Subject:
    """Pictures of one product, and what looks at them.

    Attributes:
        extractor: On the device of `prepared`.
        flow: The fitted flow.
        local: The local model, if there is one.
        prepared: (N, 3, 448, 448) uint8.
        plan: Which views the flow looks at; the local model looks at the pictures as they are.
        cap: The flow's score is the mean over views of log(-log p_Z(z)), each at most so much; None for the paper's, the mean
            of -log p_Z(z).
        early_exit: When a picture needs no more views; None looks at all of them.
        bar: Where verdicts change, for an early exit.
    """

    extractor: Extractor
    flow: Flow
    local: LocalModel | None
    prepared: Tensor
    plan: ViewPlan
    cap: float | None = None
    early_exit: EarlyExit | None = None
    bar: Bar | None = None


@dataclass
class Seconds:
    """Seconds spent on making views, in the extractor, and in flow and local model."""

    views: float = 0.0
    features: float = 0.0
    flow: float = 0.0


@dataclass(frozen=True)
class PartScores:
    """What the parts of a detector say of N pictures, before they become one score.

    Attributes:
        flow: (N,) float64, mean over views of what `by_view` has; where a picture was let go early, the estimate of it.
        by_view: (N, V) float64, -log p_Z(z) of each view, or its log, in the order of looking; NaN where one was not looked at.
        local: (N, 2) float64 of the local model; None where there is none.
        maps: (N, 2, 27, 27) float32, its maps of unlikeness and of log odds of a defect; None where there is none.
        views: (N,) int64, how many views were looked at.
        seconds: What was spent on it.
        logs: Whether `flow` and `by_view` are logs.
    """

    flow: NDArray[np.float64]
    by_view: NDArray[np.float64]
    local: NDArray[np.float64] | None
    maps: NDArray[np.float32] | None
    views: NDArray[np.int64]
    seconds: Seconds
    logs: bool

    @classmethod
    def joined(cls, parts: Sequence["PartScores"]) -> "PartScores":
        """Put scores of one detector behind each other; there is one part at least."""
        local = [each.local for each in parts if each.local is not None]
        maps = [each.maps for each in parts if each.maps is not None]
        seconds = (sum(getattr(each.seconds, name) for each in parts) for name in ("views", "features", "flow"))
        return cls(
            np.concatenate([each.flow for each in parts]),
            np.concatenate([each.by_view for each in parts]),
            np.concatenate(local) if local else None,
            np.concatenate(maps) if maps else None,
            np.concatenate([each.views for each in parts]),
            Seconds(*seconds),
            parts[0].logs,
        )

    def capped(self, cap: float) -> "PartScores":
        """The same with a cap on the log of each view; all views were looked at."""
        by_view = np.minimum(self.by_view, cap)
        return replace(self, by_view=by_view, flow=by_view.mean(axis=1))

    def side_by_side(self) -> NDArray[np.float64]:
        """The three scores that a fusion takes, (N, 3) float64: the log of the flow's, and the local model's.

        Raises:
            ValueError: There is no local model.
        """
        if self.local is None:
            raise ValueError("a flow alone has one score: there is nothing to fuse")
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.column_stack([self.flow if self.logs else np.log(self.flow), self.local])


@dataclass(frozen=True)
class ViewFeatures:
    """Features of M views.

    Attributes:
        features: (M, 768) float32 on the device, in the order of the views.
        seconds: What was spent on it.
    """

    features: Tensor
    seconds: Seconds


def look(subjects: Sequence[Subject], views_per_chunk: int | None = None) -> list[PartScores]:
    """Look at the pictures of several products; those with the same extractor pass it together.

    Args:
        subjects: The products; all of them on one device. Where two have one tensor of pictures, and one extractor, each view
            passes it once.
        views_per_chunk: How many views are in memory at once; what suits the device, if not given.
    """
    if not subjects:
        return []
    views_per_chunk = views_per_chunk or chunk_of(subjects[0].prepared.device)
    states = [_State(subject) for subject in subjects]
    with torch.inference_mode():
        for together in _by_extractor([state for state in states if state.subject.local is not None]):
            _look_upright(together, views_per_chunk)
        while waiting := [state for state in states if len(state.open)]:
            for together in _by_extractor(waiting):
                _look_further(together, views_per_chunk)
    return [state.scores() for state in states]


def extract(extractor: Extractor, prepared: Tensor, views: Views, views_per_chunk: int | None = None) -> ViewFeatures:
    """Extract the features of views of prepared pictures, in chunks of bounded memory.

    Args:
        extractor: On the device of `prepared`.
        prepared: (N, 3, 448, 448) uint8.
        views: M views of them.
        views_per_chunk: How many views are in memory at once; what suits the device, if not given.
    """
    parts: list[Tensor] = []
    seconds = Seconds()
    with torch.inference_mode():
        for chunk in views.chunks(views_per_chunk or chunk_of(prepared.device)):
            started = _now(prepared.device)
            pixels = render(prepared, chunk)
            rendered = _now(prepared.device)
            parts.append(extractor(pixels))
            seconds.views += rendered - started
            seconds.features += _now(prepared.device) - rendered
        features = torch.cat(parts) if parts else torch.empty(0, FEATURES, device=prepared.device)
    return ViewFeatures(features, seconds)


@dataclass
class _State:
    """How far the pictures of a subject are.

    Attributes:
        subject: What is looked at.
        by_view: (N, V) float64, in the order of looking.
        estimate: (N,) float64 of the pictures that were let go.
        looked: (N,) int64, views looked at.
        open: Numbers of the pictures that need more views, ascending; all of them have had equally many.
        upright: (N, 768) features of the pictures as they are, where they are known already.
        scores_of_cells: (n, 2) float64 of the local model, chunk by chunk.
        maps: (n, 2, 27, 27) float32, chunk by chunk.
        seconds: What was spent on it.
    """

    subject: Subject
    by_view: NDArray[np.float64] = field(init=False)
    estimate: NDArray[np.float64] = field(init=False)
    looked: NDArray[np.int64] = field(init=False)
    open: NDArray[np.int64] = field(init=False)
    upright: Tensor | None = None
    scores_of_cells: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    def __post_init__(self) -> None:
        count, views = len(self.subject.prepared), self.subject.plan.count
        self.by_view = np.full((count, views), np.nan)
        self.estimate = np.full(count, np.nan)
        self.looked = np.zeros(count, np.int64)
        self.open = np.arange(count)
        self.order = self.subject.plan.order()

    @cached_property
    def local(self) -> NDArray[np.float64] | None:
        if self.subject.local is None:
            return None
        return torch.cat(self.scores_of_cells).cpu().numpy() if self.scores_of_cells else np.empty((0, 2))

    @property
    def had(self) -> int:
        """How many views the open pictures have had."""
        return int(self.looked[self.open[0]])

    @property
    def target(self) -> int:
        """How many they have after the next round."""
        rule = self.subject.early_exit
        steps = rule.steps if rule is not None and self.subject.bar is not None else ()
        return next((step for step in steps if step > self.had), self.subject.plan.count)

    def next_views(self) -> Views:
        """The views of the next round, of the open pictures by their numbers."""
        first = 1 if self.had == 0 and self.upright is not None else self.had
        places = self.order[first : self.target]
        every = self.subject.plan.draw(1).chosen(np.tile(places, len(self.open)))
        return Views(np.repeat(self.open, len(places)), every.angle, every.brightness, every.contrast)

    def take(self, features: Tensor) -> None:
        """Take the features of the next views, (M, 768), and let go who needs no more."""
        had, target = self.had, self.target
        if had == 0 and self.upright is not None:
            turned = features.view(len(self.open), target - 1, FEATURES)
            features = torch.cat([self.upright[:, None], turned], dim=1).flatten(0, 1)
        z, _ = self.subject.flow(features)
        unlikely = negative_log_prior(z)
        by_view = unlikely if self.subject.cap is None else unlikely.log().clamp_max(self.subject.cap)
        by_view = by_view.view(len(self.open), -1)
        self.by_view[self.open, had:target] = by_view.cpu().numpy()
        self.looked[self.open] = target
        if target == self.subject.plan.count:
            self.open = self.open[:0]
            return
        rule, bar = self.subject.early_exit, self.subject.bar
        assert rule is not None and bar is not None  # noqa: PT018, S101 - there would be no step in between without
        estimate = rule.estimate(self.by_view[self.open, :target])
        local = None if self.local is None else self.local[self.open]
        done = rule.decided(estimate, bar(self.open, local))
        self.estimate[self.open[done]] = estimate.mean[done]
        self.open = self.open[~done]

    def scores(self) -> PartScores:
        """What was found."""
        early = self.looked < self.subject.plan.count
        flow = np.where(early, self.estimate, self.by_view.mean(axis=1))
        maps = None
        if self.subject.local is not None:
            maps = torch.cat(self.maps).cpu().numpy() if self.maps else np.empty((0, 2, CELLS, CELLS), np.float32)
        return PartScores(flow, self.by_view, self.local, maps, self.looked, self.seconds, self.subject.cap is not None)


def _by_extractor(states: Sequence[_State]) -> Iterator[list[_State]]:
    """Those whose pictures can pass an extractor together."""
    groups: dict[int, list[_State]] = {}
    for state in states:
        groups.setdefault(id(state.subject.extractor), []).append(state)
    yield from groups.values()


class _Shared:
    """The pictures that several states look at, each set once: two models that are shown the same tensor share it.

    Attributes:
        prepared: (N, 3, 448, 448) uint8, the sets behind each other.
        sets: For each state the number of its set.
        firsts: For each set the number of its first picture, and N at the end.
    """

    def __init__(self, states: Sequence[_State]) -> None:
        distinct: dict[int, Tensor] = {id(state.subject.prepared): state.subject.prepared for state in states}
        numbers = {key: number for number, key in enumerate(distinct)}
        parts = list(distinct.values())
        self.prepared = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.sets = [numbers[id(state.subject.prepared)] for state in states]
        self.firsts = np.cumsum([0, *map(len, parts)])

    def part_of(self, number: int, start: int, stop: int) -> slice:
        """Which pictures of start to stop - 1 are of a set, numbered from start."""
        first, last = int(self.firsts[number]), int(self.firsts[number + 1])
        return slice(max(first, start) - start, max(min(last, stop), start) - start)


def _look_upright(states: Sequence[_State], views_per_chunk: int) -> None:
    """Pass the pictures as they are, for the local models, and for the flows' first views where those are the same."""
    shared = _Shared(states)
    device, extractor = shared.prepared.device, states[0].subject.extractor
    features: list[Tensor] = []
    for start in range(0, len(shared.prepared), views_per_chunk):
        began = _now(device)
        pixels = shared.prepared[start : start + views_per_chunk].float() / 255.0
        made = _now(device)
        pooled, fine, coarse = extractor.with_layers(pixels)
        cells = cells_of(fine, coarse)
        features.append(pooled)
        extracted = _now(device)
        for state, number in zip(states, shared.sets, strict=True):
            part = shared.part_of(number, start, start + len(pixels))
            count = part.stop - part.start
            if count <= 0:
                continue
            local = state.subject.local
            assert local is not None  # noqa: S101 - only these were asked for
            flow_began = _now(device)
            maps = local(cells if count == len(pixels) else cells[part])
            state.scores_of_cells.append(local_scores(*maps))
            state.maps.append(torch.stack(maps, dim=1))
            share = count / len(pixels) / shared.sets.count(number)
            _add(state.seconds, share * (made - began), share * (extracted - made), _now(device) - flow_began)
    every = _joined(features, device)
    for state, number in zip(states, shared.sets, strict=True):
        if state.subject.plan.begins_upright:
            state.upright = every[shared.firsts[number] : shared.firsts[number + 1]]


def _look_further(states: Sequence[_State], views_per_chunk: int) -> None:
    """One round for the open pictures of all these; a view that several ask for is looked at once."""
    shared = _Shared(states)
    views = [state.next_views() for state in states]
    wanted = Views.joined(views, [int(shared.firsts[number]) for number in shared.sets])
    places = None
    if len(set(shared.sets)) < len(states):
        wanted, places = wanted.distinct()
    made = extract(states[0].subject.extractor, shared.prepared, wanted, views_per_chunk)
    features = made.features if places is None else made.features[torch.from_numpy(places).to(made.features.device)]
    total = max(1, sum(map(len, views)))
    parts = torch.split(features, [len(each) for each in views])
    for state, part, own in zip(states, parts, views, strict=True):
        began = _now(shared.prepared.device)
        state.take(part)
        share = len(own) / total
        flow_s = _now(shared.prepared.device) - began
        _add(state.seconds, share * made.seconds.views, share * made.seconds.features, flow_s)


def _joined(parts: list[Tensor], device: torch.device) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0, FEATURES, device=device)


def _add(seconds: Seconds, views: float, features: float, flow: float) -> None:
    seconds.views += views
    seconds.features += features
    seconds.flow += flow


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # kernels run behind; a stage's time is known when they are done
    return time.perf_counter()
