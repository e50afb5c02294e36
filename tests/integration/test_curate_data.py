"""What the curate page lets through, with a real database and archive: who, what, and only pictures that are whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import streamlit as st

from dashboard import access
from dashboard import sources as sources_module
from dashboard.access import Person
from dashboard.data import curate as data
from dashboard.sources import Sources
from infra.archive import Archive, open_archive
from infra.errors import AccessDeniedError, CurationError
from infra.evidence import PictureState
from infra.settings import Settings
from infra.store.curation import NewDecision, decide, newest_decisions
from infra.store.curation_queue import CurationFrame
from infra.store.models import register_in_force
from infra.store.schema import prepare_days
from infra.store.tables import FrameDecision, Role

from ..small_model import PRODUCT
from .curated import keep, on_record
from .rows import MODEL, NOON

RELEASED, REJECTED = FrameDecision.RELEASED, FrameDecision.REJECTED
REASON = "eye check, light as usual"
Become = Callable[[Role], None]


@pytest.fixture
def archive(settings: Settings) -> Archive:
    return open_archive(settings.archive_location)


@pytest.fixture(autouse=True)
def become(
    database: sa.Engine, settings: Settings, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Become]:
    """The dashboard on a database with a model; call it to be somebody else than the inspector o.lang."""
    sources = Sources(settings, database, live=None, archive=archive)  # type: ignore[arg-type]
    monkeypatch.setattr(sources_module, "opened", lambda: sources)

    def be(role: Role) -> None:
        monkeypatch.setattr(access, "person", lambda **_anew: Person("o.lang", role))
        monkeypatch.setattr(data, "person", lambda **_anew: Person("o.lang", role))

    be(Role.INSPECTOR)
    with database.begin() as connection:
        prepare_days(connection, NOON)
    yield be
    st.cache_data.clear()


def on_the_line(database: sa.Engine, pictures: list[str], state: str = "GOOD", p_value: float = 0.5) -> None:
    model = register_in_force(database, MODEL)
    on_record(database, model.id, pictures, state, p_value=p_value)


def seen(*pictures: str) -> list[CurationFrame]:
    return data.frames(PRODUCT, pictures)


def test_a_decision_stands_with_who_why_and_its_frame(database: sa.Engine, archive: Archive) -> None:
    first, second = keep(archive, 1), keep(archive, 2)
    on_the_line(database, [first, second])
    done = data.decide(PRODUCT, seen(first), RELEASED, f" {REASON} ")
    data.decide(PRODUCT, seen(second), REJECTED, REASON, challenge=True)
    assert data.take_back(PRODUCT, done.recorded, "taken back").overtaken == ()
    made = {each.sha256: each for each in newest_decisions(database, PRODUCT)}
    assert [(each.decision, each.who, each.reason, each.challenge) for each in (made[first], made[second])] == [
        (FrameDecision.OPEN, "o.lang", "taken back", False),
        (REJECTED, "o.lang", REASON, True),
    ]
    assert (made[first].camera, made[first].frame_id, made[first].run) == ("cam", "frame 0", "cam//2026-03-03")
    counts = data.counts(PRODUCT)
    assert (counts.waiting, counts.released, counts.rejected) == (1, 0, 1)
    stretch = data.next_stretch(PRODUCT, quarantined=False, after=None)
    assert (stretch.sha256, data.products()) == ((first,), [PRODUCT])


def test_a_picture_that_is_gone_or_altered_is_rejected_at_most(
    database: sa.Engine, archive: Archive, settings: Settings
) -> None:
    gone, altered, whole = keep(archive, 1), keep(archive, 2), keep(archive, 3)
    on_the_line(database, [gone, altered, whole])
    folder = Path(settings.archive_location)
    (folder / gone[:2] / gone).unlink()
    (folder / altered[:2] / altered).write_bytes(b"something else")
    assert [data.trouble(each) for each in (gone, altered, whole)] == [
        PictureState.MISSING,
        PictureState.ALTERED,
        PictureState.WHOLE,
    ]
    for picture in (gone, altered):
        with pytest.raises(CurationError, match="no model can learn from it"):
            data.decide(PRODUCT, seen(picture, whole), RELEASED, REASON)
        with pytest.raises(CurationError, match="no model can learn from it"):
            data.decide(PRODUCT, seen(picture), REJECTED, REASON, challenge=True)
    assert newest_decisions(database, PRODUCT) == []
    assert list(data.decide(PRODUCT, seen(gone), REJECTED, REASON).recorded) == [gone]


def test_frames_in_quarantine_are_released_one_at_a_time(database: sa.Engine, archive: Archive) -> None:
    good, doubtful, defect = keep(archive, 1), keep(archive, 2), keep(archive, 3)
    on_the_line(database, [good])
    on_the_line(database, [doubtful], p_value=0.04)
    on_the_line(database, [defect], "DEFECT")
    for other in (doubtful, defect):
        with pytest.raises(CurationError, match="released by itself"):
            data.decide(PRODUCT, seen(good, other), RELEASED, REASON)
    assert newest_decisions(database, PRODUCT) == []
    assert list(data.decide(PRODUCT, seen(defect), RELEASED, REASON).recorded) == [defect]


def test_nobody_decides_without_the_right_or_a_reason(database: sa.Engine, archive: Archive, become: Become) -> None:
    picture = keep(archive, 1)
    on_the_line(database, [picture])
    for reason in ("", "  ", "x" * 501, "a\0b"):
        with pytest.raises(ValueError, match="a reason has"):
            data.decide(PRODUCT, seen(picture), RELEASED, reason)
    become(Role.VIEWER)
    with pytest.raises(AccessDeniedError):
        data.decide(PRODUCT, seen(picture), RELEASED, REASON)
    with pytest.raises(AccessDeniedError):
        data.take_back(PRODUCT, {picture: 1}, REASON)
    assert newest_decisions(database, PRODUCT) == []


def test_what_a_command_decided_meanwhile_is_not_decided_again(database: sa.Engine, archive: Archive) -> None:
    picture = keep(archive, 1)
    on_the_line(database, [picture])
    before = seen(picture)
    decide(database, [NewDecision(PRODUCT, picture, REJECTED, "m.weber", "a scratch")])
    done = data.decide(PRODUCT, before, RELEASED, REASON)
    assert (done.recorded, [each.who for each in done.overtaken]) == ({}, ["m.weber"])
    assert [each.decision for each in newest_decisions(database, PRODUCT)] == [REJECTED]


def test_how_far_it_is_to_a_refit(database: sa.Engine, archive: Archive) -> None:
    picture = keep(archive, 1)
    on_the_line(database, [picture])
    assert data.due(PRODUCT).newest is None  # MODEL is of another product
    data.decide(PRODUCT, seen(picture), RELEASED, REASON)
    st.cache_data.clear()
    assert (data.due(PRODUCT).released, data.due(PRODUCT).reasons) == (1, ("there is no model yet",))
