"""Curation: the open frames of a product one after the other, what people decide about them, and when a refit is due."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.access import Right, needs, person
from dashboard.sources import sources
from infra.archive import reference_of
from infra.clock import utc_now
from infra.errors import CurationError
from infra.evidence import PictureState, picture_state
from infra.heatmaps import decode_heatmap
from infra.refit_due import Due, DueRule, look_due
from infra.store import curation as decision_store
from infra.store import curation_queue as queue_store
from infra.store import verdicts as verdict_store
from infra.store.curation import Decided, NewDecision
from infra.store.curation_queue import CurationCounts, CurationFrame, QueueKey, Stretch
from infra.store.reasons import checked_reason
from infra.store.tables import FrameDecision

_COUNTED_S = 3.0
_MOST_PRODUCTS = 64
_SAFE_WITHOUT_PICTURE = (FrameDecision.REJECTED, FrameDecision.OPEN)


@needs(Right.SEE)
def products() -> list[str]:
    """Return the products that have pictures to decide about, by name.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _products()


@needs(Right.SEE)
def counts(product: str) -> CurationCounts:
    """Return how many pictures of a product are what; kept for a moment, unless somebody decides here.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _counts(product)


@needs(Right.SEE)
def due(product: str) -> Due:
    """Return whether a refit is due, and how far it is until then; kept for some seconds.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _due(product)


@needs(Right.SEE)
def next_stretch(product: str, *, quarantined: bool, after: QueueKey | None) -> Stretch:
    """Return the next open frames, in the order in which they teach most.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    at = sources()
    return queue_store.open_stretch(
        at.database, product, at.settings.quarantine_p_value, quarantined=quarantined, after=after
    )


@needs(Right.SEE)
def frames(product: str, sha256: Sequence[str]) -> list[CurationFrame]:
    """Return frames as they stand now, with what was decided meanwhile; never from a cache.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return queue_store.frames_as_they_stand(sources().database, product, sha256)


@needs(Right.SEE)
def heat(shown: CurationFrame) -> NDArray[np.float32] | None:
    """Return the heat of a frame, in units of its model's scale; None where no heatmap was kept or it cannot be read.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    frame = shown.frame
    png = verdict_store.heatmap(sources().database, frame.camera, frame.frame_id, frame.received_at)
    if png is None:
        return None
    try:
        return decode_heatmap(png)
    except ValueError:
        return None


@needs(Right.SEE)
def trouble(sha256: str) -> PictureState:
    """Tell what is the matter with a picture that cannot be shown; remembered for half a minute."""
    return _trouble(sha256)


@needs(Right.INSPECT)
def decide(
    product: str, seen: Sequence[CurationFrame], decision: FrameDecision, reason: str, *, challenge: bool = False
) -> Decided:
    """Put a decision about frames on record in the name of who is looking, where nobody has decided since.

    Of several frames at once none may be in quarantine: such a frame is looked at by itself.

    Args:
        product: Of which product.
        seen: The frames as they were shown.
        decision: Released or rejected.
        reason: Why, in that person's words.
        challenge: Whether each new model is shown them, as known defects; only of rejected ones.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long.
        CurationError: A picture is gone, altered or out of reach, in quarantine among others, or not of this product; nothing
            was put on record.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    at = sources()
    text = checked_reason(reason)
    now = {each.frame.sha256: each.frame for each in frames(product, [each.frame.sha256 for each in seen])}
    made = []
    for sha256 in (each.frame.sha256 for each in seen):
        if sha256 not in now:
            raise CurationError("this is no kept frame of the product")
        if len(seen) > 1 and now[sha256].quarantined(at.settings.quarantine_p_value):
            raise CurationError("a frame in quarantine is released by itself, never with others")
        if challenge or decision not in _SAFE_WITHOUT_PICTURE:
            _require_whole(sha256)
        frame = now[sha256]
        origin = (frame.camera, frame.frame_id, frame.run)
        made.append(NewDecision(product, sha256, decision, person().name, text, *origin, challenge=challenge))
    return _put_on_record(product, made, {each.frame.sha256: each.decision_id for each in seen})


@needs(Right.INSPECT)
def take_back(product: str, numbers: dict[str, int], reason: str) -> Decided:
    """Follow one's own decisions by `open` again, where nobody has decided since.

    Args:
        product: Of which product.
        numbers: The number of the decision, by the hash of the picture.
        reason: Why.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    text = checked_reason(reason)
    kept = {each.frame.sha256: each.frame for each in frames(product, list(numbers))}
    made = []
    for sha256, frame in kept.items():
        origin = (frame.camera, frame.frame_id, frame.run)
        made.append(NewDecision(product, sha256, FrameDecision.OPEN, person().name, text, *origin))
    return _put_on_record(product, made, {**numbers})


def _put_on_record(product: str, made: Sequence[NewDecision], seen: Mapping[str, int | None]) -> Decided:
    decided = decision_store.decide_as_seen(sources().database, made, seen)
    _counts.clear(product)
    return decided


def _require_whole(sha256: str) -> None:
    """Read the picture once more: what was shown may have been in a cache."""
    state = picture_state(sources().archive, sha256, reference_of(sha256))
    if state is PictureState.ARCHIVE_AWAY:
        raise CurationError("the archive does not answer, so nobody knows whether the picture is whole")
    if state is not PictureState.WHOLE:
        raise CurationError(f"the picture is {state} in the archive, so no model can learn from it")


@st.cache_data(ttl=_COUNTED_S, max_entries=1, show_spinner=False)
def _products() -> list[str]:
    return queue_store.products_to_curate(sources().database)


@st.cache_data(ttl=_COUNTED_S, max_entries=_MOST_PRODUCTS, show_spinner=False)
def _counts(product: str) -> CurationCounts:
    at = sources()
    return queue_store.curation_counts(at.database, product, at.settings.quarantine_p_value)


@st.cache_data(ttl=_COUNTED_S, max_entries=_MOST_PRODUCTS, show_spinner=False)
def _due(product: str) -> Due:
    at = sources()
    rule = DueRule(timedelta(days=at.settings.refit_after_days), at.settings.refit_after_frames)
    return look_due(at.database, product, rule, utc_now())


@st.cache_data(ttl=30.0, max_entries=400, show_spinner=False)
def _trouble(sha256: str) -> PictureState:
    return picture_state(sources().archive, sha256, reference_of(sha256))
