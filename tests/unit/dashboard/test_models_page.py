"""The logic of the models page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import models as data
from dashboard.data import pictures
from dashboard.data.models import Changed, Models
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.store.changed_frames import ChangedFrame, ChangedKey, Looked
from infra.store.model_requests import ModelRequest
from infra.store.promotions import ModelRow, Promotion
from infra.store.tables import (
    FrameDecision,
    ModelState,
    PromotionKind,
    RequestKind,
    RequestOutcome,
    Role,
    SecondSource,
    VerdictState,
)

from .conftest import Become
from .shown import AT, HOSTILE, marked_up, texts

GOOD, DEFECT = VerdictState.GOOD, VerdictState.DEFECT
FIRST = ModelRow(
    id=11, product=HOSTILE, version=1, state=ModelState.IN_FORCE, folder="/f", flow_sha256="a" * 64, manifest_sha256="b" * 64,
    preset="compact", threshold=21.5, false_alarm_rate=0.05, attainable_rate=0.05, views=8, training_frames=208,
    calibration_frames=52, shadow=False, registered_by=HOSTILE, registered_at=AT, challenge_parts=10, challenge_found=9,
    challenge_found_before=None, report=None,
)  # fmt: skip
SECOND = replace(
    FIRST, id=12, version=2, state=ModelState.CANDIDATE, shadow=True, report="# x\n\nWhy now: **asked**.\n"
)
WAITING = ModelRequest(
    id=5, product=HOSTILE, what=RequestKind.PROMOTE, version=2, force=False, who=HOSTILE, reason="r", asked_at=AT,
    cancelled_at=None, cancelled_by=None, taken_at=None, beat_at=None, stage=None, progress=None, done_at=None, outcome=None,
    message=None,
)  # fmt: skip


def changed(place: int, after: VerdictState = DEFECT) -> Changed:
    before = GOOD if after is DEFECT else DEFECT
    frame = ChangedFrame(
        AT - timedelta(seconds=place), HOSTILE, f"frame-{place}", f"part {place}", None, before, 1.5, 0.5, 2.0, 1, after, 3.5,
        0.01, 2.5, SecondSource.SHADOW, FrameDecision.OPEN,
    )  # fmt: skip
    return Changed(frame, b"jpeg")


@dataclass
class FakeModels:
    """What the page would find, in memory."""

    versions: tuple[ModelRow, ...] = (SECOND, FIRST)
    requests: tuple[ModelRequest, ...] = ()
    trainers: int | None = 1
    frames: list[Changed] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    fails: Exception | None = None
    away: bool = False
    names: tuple[str, ...] = (HOSTILE, "cap")

    def products(self) -> list[str]:
        self._answer()
        return list(self.names)

    def current_models(self, product: str) -> Models:
        self._answer()
        return Models(self.versions if product == HOSTILE else (), self.requests, self.trainers)

    def history(self, product: str) -> list[Promotion]:
        return [Promotion(product, 1, None, PromotionKind.TRAINED, HOSTILE, HOSTILE, AT)]

    def histogram(self, model_id: int) -> dict[str, Any] | None:
        return None if model_id == 12 else {"edges": [0.0, 1.0, 2.0], "good": [3.0, 0.0], "challenge": [0.0, 1.0]}

    def looked(self, _model_id: int) -> Looked:
        rejects = sum(each.frame.after is DEFECT for each in self.frames)
        return Looked(len(self.frames), rejects, rejects, len(self.frames) - rejects)

    def changed_page(
        self, _model_id: int, says: VerdictState | None, after: ChangedKey | None
    ) -> tuple[tuple[Changed, ...], bool]:
        found = [each for each in self.frames if says in (None, each.frame.after)]
        found = [each for each in found if after is None or each.frame.received_at < after.received_at]
        return tuple(found[:2]), len(found) > 2

    def objections(self, _product: str, _version: int) -> list[str]:
        return self.against

    def ask(
        self, product: str, what: RequestKind, reason: str, *, version: int | None = None, force: bool = False
    ) -> None:
        if self.fails is not None:
            raise self.fails
        self.asked.append((product, what, reason, version, force))

    def cancel(self, number: int) -> bool:
        self.cancelled.append(number)
        return True

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    fake = FakeModels()
    for name in (
        "products", "current_models", "history", "histogram", "looked", "changed_page", "objections", "ask", "cancel",
    ):  # fmt: skip
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(pictures, "small_picture", lambda _ref, _px: None)
    return fake


def models_page(**query: str) -> AppTest:
    def script() -> None:
        from dashboard.views import models  # noqa: PLC0415 - the function's text is the script

        models.page({})

    page = AppTest.from_function(script, default_timeout=30)
    for name, value in query.items():
        page.query_params[name] = value
    return page


def click(page: AppTest, label: str) -> AppTest:
    return next(button for button in page.button if button.label == label).click().run()


def disabled(page: AppTest, label: str) -> bool:
    return bool(next(button for button in page.button if button.label == label).disabled)


def headings(page: AppTest) -> list[str]:
    return [element.value for element in page.markdown if element.value.startswith("####")]


def test_versions_are_listed_and_the_newest_candidate_is_opened(store: FakeModels) -> None:
    page = models_page().run()
    assert not page.exception
    table = page.dataframe[0].value
    assert table["version"].tolist() == [2, 1]
    assert table["state"].tolist() == ["○ candidate, in shadow", "● in force"]
    assert table["challenge"].tolist() == ["9 of 10 (55% to 100%)"] * 2
    assert headings(page) == ["#### Version 2"]
    assert page.query_params["product"] == HOSTILE
    store.versions = (FIRST, replace(SECOND, version=0, state=ModelState.RETIRED, shadow=False))
    assert headings(models_page().run()) == ["#### Version 1"]


@pytest.mark.parametrize(("text", "opened"), [("1", 1), ("99", 2), ("-1", 2), ("٣", 2), ("9" * 5000, 2), ("<b>", 2)])
@pytest.mark.usefixtures("store")
def test_the_address_says_which_version(text: str, opened: int) -> None:
    page = models_page(product=HOSTILE, version=text).run()
    assert not page.exception
    assert headings(page) == [f"#### Version {opened}"]


def test_another_product_is_kept_in_the_address_and_may_have_no_model(store: FakeModels) -> None:
    page = models_page(product=HOSTILE, version="1").run()
    page.selectbox[0].set_value("cap").run()
    assert not page.exception
    assert page.query_params["product"] == "cap"
    assert "version" not in page.query_params
    assert headings(page) == ["#### No model of this product yet"]
    store.names = ()
    assert headings(models_page().run()) == ["#### No models yet"]


def test_names_from_outside_are_text(store: FakeModels) -> None:
    store.requests = (replace(WAITING, message=HOSTILE, outcome=RequestOutcome.FAILED, done_at=AT), WAITING)
    store.frames = [changed(1)]
    for part in ("Facts", "Report", "Changed verdicts", "History"):
        page = models_page(version="1").run()
        page.segmented_control(key="models_part").set_value(part).run()
        assert not page.exception
        assert HOSTILE in "".join(texts(page))
        assert HOSTILE not in marked_up(page)
        assert all(HOSTILE not in button.label for button in page.button)


def test_a_report_is_shown_and_where_there_is_none_it_is_said(store: FakeModels) -> None:
    page = models_page(version="2").run()
    page.segmented_control(key="models_part").set_value("Report").run()
    assert "Why now: **asked**." in [element.value for element in page.markdown]
    page = models_page(version="1").run()
    page.segmented_control(key="models_part").set_value("Report").run()
    assert "It has no report" in marked_up(page)
    store.versions = (replace(SECOND, report="# x\n\n<script>alert(1)</script>\n"), FIRST)
    page = models_page(version="2").run()
    page.segmented_control(key="models_part").set_value("Report").run()
    assert page.code[0].value == "<script>alert(1)</script>"
    assert "script" not in marked_up(page)


def changed_part(**query: str) -> AppTest:
    page = models_page(**query).run()
    return page.segmented_control(key="models_part").set_value("Changed verdicts").run()


def test_changed_verdicts_stand_side_by_side_and_are_filtered(store: FakeModels) -> None:
    store.frames = [changed(1), changed(2, GOOD), changed(3)]
    page = changed_part()
    assert "it rejects 2 more and accepts 1 more" in marked_up(page)
    table = page.dataframe[1].value
    assert table["on record"].tolist() == ["✓ GOOD", "✕ DEFECT"]
    assert table["version 2"].tolist() == ["✕ DEFECT", "✓ GOOD"]
    assert table["frame"].tolist()[0] == "data:image/jpeg;base64,anBlZw=="
    assert "part part 1, frame frame-1, camera " + HOSTILE in texts(page)
    click(page, "Older")
    assert page.dataframe[1].value["part"].tolist() == ["part 3"]
    assert disabled(page, "Older")
    page.segmented_control(key="models_changed_shown").set_value("It accepts").run()
    assert page.dataframe[1].value["part"].tolist() == ["part 2"]
    assert disabled(page, "Newer")


def test_a_version_that_saw_nothing_or_the_same_says_so(store: FakeModels) -> None:
    assert "It has not looked at the line yet" in marked_up(changed_part())
    store.frames = [changed(1)]
    store.changed_page = lambda *_: ((), False)  # type: ignore[method-assign]
    page = changed_part()
    page.segmented_control(key="models_changed_shown").set_value("It accepts").run()
    assert not page.exception


def test_a_promotion_needs_a_reason(store: FakeModels) -> None:
    page = click(models_page().run(), "Promote…")
    assert "Nothing that the database knows speaks against it" in marked_up(page)
    assert not page.checkbox
    click(page, "Promote version 2")
    assert page.error[0].value == "Write a reason first."
    assert store.asked == []
    page.text_area[0].set_value("looks *better*")
    click(page, "Promote version 2")
    assert store.asked == [(HOSTILE, RequestKind.PROMOTE, "looks *better*", 2, False)]
    assert not page.text_area  # the dialog is closed


def test_objections_are_listed_and_overruled_by_force_alone(store: FakeModels) -> None:
    store.against = ["it calls 9 of 10 released pictures a defect"]
    page = click(models_page().run(), "Promote…")
    assert "it calls 9 of 10 released pictures a defect" in marked_up(page)
    page.text_area[0].set_value("the old one is blind")
    click(page, "Promote version 2")
    assert "tick force" in page.error[0].value
    assert store.asked == []
    page.checkbox[0].set_value(True)
    click(page, "Promote version 2")
    assert store.asked == [(HOSTILE, RequestKind.PROMOTE, "the old one is blind", 2, True)]


@pytest.mark.parametrize(
    ("version", "button", "submit", "asked"),
    [
        ("1", "Roll back…", "Roll back version 1", (RequestKind.ROLLBACK, 1)),
        ("2", "End shadow…", "End shadow", (RequestKind.SHADOW, None)),
        ("1", "Refit now…", "Refit now", (RequestKind.REFIT, None)),
    ],
)
def test_each_question_asks_for_what_it_says(
    store: FakeModels, version: str, button: str, submit: str, asked: tuple[RequestKind, int | None]
) -> None:
    page = click(models_page(version=version).run(), button)
    page.text_area[0].set_value("why")
    click(page, submit)
    assert store.asked == [(HOSTILE, asked[0], "why", asked[1], False)]


def test_a_candidate_is_put_in_shadow(store: FakeModels) -> None:
    store.versions = (replace(SECOND, shadow=False), FIRST)
    page = click(models_page().run(), "Shadow…")
    page.text_area[0].set_value("why")
    click(page, "Version 2 in shadow")
    assert store.asked == [(HOSTILE, RequestKind.SHADOW, "why", 2, False)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatabaseAwayError("away"), "the database does not answer"),
        (ValueError("the same is asked for already and not done yet"), "the same is asked for already"),
        (AccessDeniedError("this needs the role engineer, and you are viewer"), "this needs the role engineer"),
    ],
)
def test_what_is_not_asked_is_said_and_what_was_typed_stays(store: FakeModels, error: Exception, said: str) -> None:
    store.fails = error
    page = click(models_page().run(), "Promote…")
    page.text_area[0].set_value("looks better")
    click(page, "Promote version 2")
    assert not page.exception
    assert said in page.error[0].value
    assert page.text_area[0].value == "looks better"
    page.run()  # the page runs again by itself, and the dialog stays
    assert page.text_area[0].value == "looks better"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.INSPECTOR])
def test_who_is_no_engineer_sees_everything_and_asks_for_nothing(store: FakeModels, become: Become, role: Role) -> None:
    store.requests = (WAITING,)
    become(role)
    page = models_page().run()
    assert not page.exception
    assert page.dataframe[0].value["version"].tolist() == [2, 1]
    for label in ("Promote…", "End shadow…", "Refit now…"):
        assert disabled(page, label)
    assert "Cancel" not in [button.label for button in page.button]
    assert disabled(models_page(version="1").run(), "Roll back…")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (WAITING, "waits"),
        (replace(WAITING, taken_at=AT, stage="fit", progress=0.4), "fitting the flow"),
        (replace(WAITING, taken_at=AT, stage="of a later version"), "being done"),
        (replace(WAITING, cancelled_at=AT, cancelled_by="x"), "cancelled"),
        (replace(WAITING, outcome=RequestOutcome.REFUSED, done_at=AT, message="why not"), "refused"),
    ],
)
def test_how_far_a_request_is(store: FakeModels, request_: ModelRequest, said: str) -> None:
    store.requests = (request_,)
    page = models_page().run()
    assert not page.exception
    assert any(element.value.startswith(f"{said} · ") for element in page.caption)
    assert ("why not" in texts(page)) == (said == "refused")
    assert ("Cancel" in [button.label for button in page.button]) == (said == "waits")


def test_what_waits_can_be_cancelled_and_no_trainer_is_said_calmly(store: FakeModels) -> None:
    store.requests, store.trainers = (WAITING,), 0
    page = models_page().run()
    assert "No trainer is running. What is asked for waits until one is" in marked_up(page)
    assert not page.warning
    click(page, "Cancel")
    assert store.cancelled == [5]
    store.trainers = None  # the live state does not tell
    assert "No trainer is running" not in marked_up(models_page().run())


def test_the_page_recovers_from_a_database_that_was_away(store: FakeModels) -> None:
    store.away = True
    page = models_page().run()
    assert not page.exception
    assert "The database does not answer" in page.warning[0].value
    store.away = False
    page.run()
    assert not page.warning
    assert headings(page) == ["#### Version 2"]


def test_a_model_that_comes_into_force_meanwhile_redraws_the_opened_version(
    store: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The versions run again by themselves; what stands outside of them follows."""
    after = (replace(SECOND, state=ModelState.IN_FORCE, shadow=False), replace(FIRST, state=ModelState.RETIRED))
    looks = iter([store.versions])
    monkeypatch.setattr(data, "current_models", lambda _product: Models(next(looks, after), (), 1))
    page = models_page(version="2").run()
    assert not page.exception
    assert "Roll back…" in [button.label for button in page.button]


@pytest.mark.parametrize("role", [Role.NONE, Role.VIEWER, Role.INSPECTOR])
def test_the_data_layer_refuses_who_is_no_engineer(become: Become, role: Role) -> None:
    become(role)
    for what in RequestKind:
        with pytest.raises(AccessDeniedError, match=f"this needs the role engineer, and you are {role}"):
            data.ask("tile", what, "why", version=2)
    with pytest.raises(AccessDeniedError):
        data.cancel(1)
