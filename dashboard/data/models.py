"""Models: the versions of a product, what they would change, and what people ask the trainer to do with them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
import streamlit as st

from dashboard.access import Right, needs, person
from dashboard.data.pictures import small_picture
from dashboard.sources import sources
from infra.objections import line_objections
from infra.store import changed_frames, model_requests, model_versions, promotions
from infra.store.changed_frames import ChangedFrame, ChangedKey, Looked
from infra.store.model_requests import ModelRequest, NewRequest
from infra.store.promotions import ModelRow, Promotion
from infra.store.second_verdicts import Seen
from infra.store.tables import ModelState, RequestKind, VerdictState

MOST_VERSIONS = 50
MOST_REQUESTS = 6
MOST_PROMOTIONS = 50
FRAMES_PER_PAGE = 8
_THUMBNAIL_PX = 96


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a product at this moment.

    Attributes:
        versions: Newest first.
        requests: The newest that people asked for, newest first.
        trainers: Trainers that take requests; None where the live state does not tell.
    """

    versions: tuple[ModelRow, ...]
    requests: tuple[ModelRequest, ...]
    trainers: int | None

    @property
    def in_force(self) -> ModelRow | None:
        """The model in force."""
        return next((each for each in self.versions if each.state is ModelState.IN_FORCE), None)


@dataclass(frozen=True, slots=True)
class Changed:
    """A frame of which another model says something else, with its picture (JPEG) where it is kept."""

    frame: ChangedFrame
    picture: bytes | None


@needs(Right.SEE)
def products() -> list[str]:
    """Return the products that have a model, or pictures that somebody decided about, by name.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _products()


@needs(Right.SEE)
def current_models(product: str) -> Models:
    """Return the models of a product and what was asked for.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _current_models(product)


@needs(Right.SEE)
def history(product: str) -> list[Promotion]:
    """Return how the models of a product came into force, newest first.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _history(product)


@needs(Right.SEE)
def histogram(model_id: int) -> dict[str, Any] | None:
    """Return the scores of a model as they are drawn; None where they are not known.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _histogram(model_id)


@needs(Right.SEE)
def looked(model_id: int) -> Looked:
    """Return what a model said of the newest frames that it saw.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _looked(model_id)


@needs(Right.SEE)
def changed_page(
    model_id: int, says: VerdictState | None, after: ChangedKey | None
) -> tuple[tuple[Changed, ...], bool]:
    """Return a page of frames of which a model says something else, newest first, and whether there are older ones.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    found, more = _changed_page(model_id, says, after)
    return tuple(Changed(each, _picture(each)) for each in found), more


@needs(Right.SEE)
def objections(product: str, version: int) -> list[str]:
    """Return what speaks against putting a version in force, as far as the database tells; the trainer looks once more.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    now = _current_models(product)
    model = next((each for each in now.versions if each.version == version), None)
    if model is None:
        return []
    seen = _seen(model.id, model.registered_at)
    replaces = now.in_force is not None
    return [*model.objections(), *line_objections(seen, model.false_alarm_rate, replaces_another=replaces)]


@needs(Right.ENGINEER)
def ask(
    product: str, what: RequestKind, reason: str, *, version: int | None = None, force: bool = False
) -> ModelRequest | None:
    """Ask the trainer for something, in the name of who is looking.

    Returns:
        The request as it stands now.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is missing, or the same is asked for already.
        DatabaseAwayError: The database does not answer.
    """
    who = person()
    new = NewRequest(product, what, who.name, reason, version, force)
    number = model_requests.ask(sources().database, new, who.role)
    _current_models.clear()
    return next((each for each in _current_models(product).requests if each.id == number), None)


@needs(Right.ENGINEER)
def cancel(number: int) -> bool:
    """Take back a request that no trainer has taken, in the name of who is looking.

    Returns:
        False where a trainer, or somebody else, was quicker.

    Raises:
        AccessDeniedError: They may not.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    who = person()
    cancelled = model_requests.cancel(sources().database, number, who.name, who.role)
    _current_models.clear()
    return cancelled


@st.cache_data(ttl=10.0, max_entries=1, show_spinner=False)
def _products() -> list[str]:
    return model_versions.products_of_models(sources().database)


@st.cache_resource(ttl=1.0, max_entries=64, show_spinner=False)
def _current_models(product: str) -> Models:
    at = sources()
    return Models(
        tuple(model_versions.newest_versions(at.database, product, MOST_VERSIONS)),
        tuple(model_requests.requests_of(at.database, product, MOST_REQUESTS)),
        _trainers(),
    )


@st.cache_resource(ttl=2.0, max_entries=64, show_spinner=False)
def _history(product: str) -> list[Promotion]:
    return promotions.promotions_of(sources().database, product, MOST_PROMOTIONS)


@st.cache_data(ttl=600.0, max_entries=64, show_spinner=False)
def _histogram(model_id: int) -> dict[str, Any] | None:
    return model_versions.histogram_of(sources().database, model_id)


@st.cache_resource(ttl=10.0, max_entries=64, show_spinner=False)
def _looked(model_id: int) -> Looked:
    return changed_frames.looked(sources().database, model_id)


@st.cache_resource(ttl=10.0, max_entries=64, show_spinner=False)
def _seen(model_id: int, registered_at: datetime) -> Seen:
    return changed_frames.seen_since_registered(sources().database, model_id, registered_at)


@st.cache_resource(ttl=10.0, max_entries=64, show_spinner=False)
def _changed_page(
    model_id: int, says: VerdictState | None, after: ChangedKey | None
) -> tuple[tuple[ChangedFrame, ...], bool]:
    found = changed_frames.changed_page(sources().database, model_id, says, after, FRAMES_PER_PAGE + 1)
    return tuple(found[:FRAMES_PER_PAGE]), len(found) > FRAMES_PER_PAGE


def _picture(frame: ChangedFrame) -> bytes | None:
    return small_picture(frame.archive_ref, _THUMBNAIL_PX) if frame.archive_ref else None


def _trainers() -> int | None:
    try:
        return sources().live.alive("trainer")
    except redis.RedisError:
        return None
