"""Refits on a real PostgreSQL and a real archive, with a small flow: whole or not at all, one at a time."""

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from typer.testing import CliRunner

import trainer.life.refit
from infra.children import differline
from infra.clock import utc_now
from infra.errors import RefitError, TrainingSetError
from infra.frames import sha256_hex
from infra.settings import Settings
from infra.store.models import RegisteredModel, models_in_force
from infra.store.promotions import list_models, model_row
from infra.store.schema import prepare_days
from infra.store.tables import ModelState
from scorer.detector import calibrate, load_artifact, read_manifest
from trainer.fit import FittedModel
from trainer.images import PictureSet
from trainer.life.challenge import challenge
from trainer.life.commands import models_app
from trainer.life.refit import Order, Workshop
from trainer.life.released import ArchivedPicture

from ..small_model import PRODUCT, SMALL
from ..unit.scorer.detector.conftest import with_cameras
from .curated import OPEN, REJECTED, keep, new_workshop, on_record, release
from .rows import NOON

PutInForce = Callable[[], RegisteredModel]
ORDER = Order(PRODUCT, false_alarm_rate=0.2)


@pytest.fixture(autouse=True)
def _small_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.life.refit, "choose_preset", lambda _: SMALL)


@pytest.fixture
def workshop(database: sa.Engine, settings: Settings) -> Workshop:
    return new_workshop(database, settings)


def kept(workshop: Workshop, count: int, first: int = 100, **changes: Any) -> list[str]:
    pictures = [keep(workshop.archive, first + number) for number in range(count)]
    release(workshop.database, pictures, **changes)
    return pictures


def versions(database: sa.Engine) -> list[tuple[int, ModelState]]:
    return [(row.version, row.state) for row in list_models(database)]


def test_a_refit_learns_what_is_released_and_registers_a_candidate(
    database: sa.Engine, workshop: Workshop, put_in_force: PutInForce
) -> None:
    before = put_in_force()
    monday, tuesday, wednesday = (
        kept(workshop, 8, first, run=run) for first, run in [(100, "mo"), (200, "tu"), (300, "we")]
    )
    release(database, [keep(workshop.archive, 400)], decision=REJECTED)
    opened = kept(workshop, 1, 500)
    release(database, opened, decision=OPEN)
    defects = [keep(workshop.archive, 600 + number, scratched=True) for number in range(4)]
    release(database, defects, decision=REJECTED, challenge=True)
    model, report = workshop.refit(ORDER)
    assert (model.version, models_in_force(database)) == (2, {PRODUCT: before})
    assert versions(database) == [(2, ModelState.CANDIDATE), (1, ModelState.IN_FORCE)]
    manifest = read_manifest(Path(model.folder))
    learned, calibrated = set(manifest.training_sha256), set(manifest.calibration_sha256)
    assert learned | calibrated == {*monday, *tuesday, *wednesday}
    assert calibrated in [set(monday), set(tuesday), set(wednesday)]  # a whole production run
    row = model_row(database, PRODUCT, 2)
    assert (row.training_frames, row.calibration_frames, row.registered_by) == (16, 8, "m.weber")
    assert (row.challenge_parts, row.challenge_found, row.challenge_found_before) == (4, 4, 4)
    assert row.report == report == (Path(model.folder) / "report.md").read_text()
    assert (Path(model.folder) / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "24 released pictures of 3 production runs: 16 to learn from, 8 held out" in report
    assert "| version 1, in force | 4 of 4 challenge parts found" in report
    detector = load_artifact(
        Path(model.folder), model.flow_sha256, model.manifest_sha256, extractor=workshop.extractors[0]
    )
    assert detector.manifest.false_alarm_rate == 0.2


def test_what_the_order_leaves_open_is_as_in_the_model_in_force(workshop: Workshop, put_in_force: PutInForce) -> None:
    put_in_force()
    kept(workshop, 20)
    model, report = workshop.refit(Order(PRODUCT))
    manifest = read_manifest(Path(model.folder))
    assert (manifest.false_alarm_rate, manifest.views.count) == (0.2, 1)
    assert "There are none: nothing is known of how well this model finds real defects" in report


def test_frames_in_quarantine_and_releases_by_a_rule_are_said(
    database: sa.Engine, workshop: Workshop, put_in_force: PutInForce
) -> None:
    with database.begin() as connection:
        prepare_days(connection, NOON)
    in_force = put_in_force()
    kept(workshop, 16)
    kept(workshop, 4, 200, reason="rule: GOOD with a p-value of 0.5 or more")
    waiting = [keep(workshop.archive, 300 + number) for number in range(3)]
    on_record(database, in_force.id, waiting, "DEFECT")
    _, report = workshop.refit(ORDER)
    assert "People released 16, a rule 4. A rule releases by p-value" in report
    assert "3 kept frames wait in quarantine for a person" in report


def test_names_from_outside_are_text_in_the_report(workshop: Workshop) -> None:
    kept(workshop, 16, camera="<script>alert(1)</script> | [x](y)")
    _, report = workshop.refit(ORDER)
    learned, judged = [line for line in report.splitlines() if "script" in line]
    name = "| \\<script\\>alert\\(1\\)\\</script\\> \\| \\[x\\]\\(y\\) |"
    assert learned == f"{name} 16 |"
    assert judged.startswith(f"{name} 4 | its own threshold")


def test_sixteen_pictures_are_enough_and_what_they_can_promise_is_said(database: sa.Engine, workshop: Workshop) -> None:
    kept(workshop, 15)
    with pytest.raises(TrainingSetError, match="what is released of part holds 15 usable pictures, at least 16"):
        workshop.refit(Order(PRODUCT))
    assert versions(database) == []
    kept(workshop, 1, 500)
    _, report = workshop.refit(Order(PRODUCT))
    assert "16 released pictures of 16 production runs: 12 to learn from, 4 held out for calibration" in report
    assert "- 4 held-out pictures can promise a false-alarm rate of 20.00% at best, not 1.00%: that needs 99" in report
    assert "The least that 4 held-out pictures can promise: 20.000%." in report
    assert "the true rate is below 52.713%" in report  # 1 - 0.05 ** (1 / 4)
    row = model_row(database, PRODUCT, 1)
    assert row.attainable_rate == pytest.approx(0.2)
    assert row.objections() == ["its 4 calibration frames promise 20.000% false alarms at best, not 1.000%"]


@pytest.mark.parametrize("damage", ["gone", "altered", "no picture"])
def test_a_picture_that_is_gone_or_altered_is_named_and_nothing_is_left_out_silently(
    database: sa.Engine, workshop: Workshop, settings: Settings, put_in_force: PutInForce, damage: str
) -> None:
    in_force = put_in_force()
    pictures = kept(workshop, 20)
    path = Path(settings.archive_location) / pictures[3][:2] / pictures[3]
    if damage == "gone":
        path.unlink()
    elif damage == "altered":
        path.write_bytes(b"something else")
    else:
        workshop.archive.write(b"no picture at all")
        pictures.append(sha256_hex(b"no picture at all"))
        release(database, pictures[-1:])
    bad = pictures[-1] if damage == "no picture" else pictures[3]
    with pytest.raises(RefitError, match=rf"1 of 2[01] decided pictures of part cannot be used, first: picture {bad}"):
        workshop.refit(ORDER)
    assert models_in_force(database) == {PRODUCT: in_force}
    assert len(versions(database)) == 1
    release(database, [bad], decision=OPEN)
    assert workshop.refit(ORDER)[0].version == 2


def test_one_refit_of_a_product_at_a_time(workshop: Workshop) -> None:
    kept(workshop, 16)
    with (
        workshop._alone(PRODUCT),
        pytest.raises(RefitError, match="another refit of part is running; nothing was done"),
    ):
        workshop.refit(ORDER)
    with workshop._alone("another product"):
        assert workshop.refit(ORDER)[0].version == 1


def test_a_refit_that_lost_its_lock_registers_nothing(
    database: sa.Engine, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(workshop, 16)
    real = trainer.life.refit.fit_together

    def fit_while_the_server_restarts(*args: Any, **options: Any) -> dict[str, FittedModel]:
        with database.begin() as connection:
            others = (
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
            assert connection.execute(sa.text(others)).rowcount >= 1
        return real(*args, **options)

    monkeypatch.setattr(trainer.life.refit, "fit_together", fit_while_the_server_restarts)
    with pytest.raises(RefitError, match="another refit may have begun: nothing was registered"):
        workshop.refit(ORDER)
    assert versions(database) == []
    monkeypatch.setattr(trainer.life.refit, "fit_together", real)
    assert workshop.refit(ORDER)[0].version == 1


def test_a_candidate_with_a_weight_that_is_not_a_number_is_not_registered(
    database: sa.Engine, workshop: Workshop, put_in_force: PutInForce, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force = put_in_force()
    kept(workshop, 16)
    real = trainer.life.refit.fit_together

    def broken(*args: Any, **options: Any) -> dict[str, FittedModel]:
        fitted = real(*args, **options)
        with torch.no_grad():
            next(weight for weight in fitted[PRODUCT].detector.flow.parameters() if weight.is_floating_point()).fill_(
                torch.nan
            )
        return fitted

    monkeypatch.setattr(trainer.life.refit, "fit_together", broken)
    with pytest.raises(RefitError, match="not a number; nothing was registered"):
        workshop.refit(ORDER)
    assert models_in_force(database) == {PRODUCT: in_force}
    assert len(versions(database)) == 1


def test_a_refit_that_is_killed_leaves_nothing_registered_and_starts_again(
    database: sa.Engine, workshop: Workshop, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept(workshop, 16)
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("DIFFERLINE_EXTRACTOR", "random")
    with (
        (tmp_path / "err").open("w") as err,
        subprocess.Popen(differline("refit", "--product", PRODUCT), stderr=err) as run,
    ):
        deadline = time.monotonic() + 120
        while "fitting the flow" not in (tmp_path / "err").read_text():
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(RefitError, match="another refit of part is running"):
            workshop.refit(ORDER)
        run.send_signal(signal.SIGKILL)
    assert versions(database) == []
    assert list(Path(settings.models_folder).rglob("manifest.json")) == []
    until = time.monotonic() + 30  # PostgreSQL notices within moments that the connection is gone
    while True:
        try:
            model, _ = workshop.refit(ORDER)
        except RefitError:
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            break
    assert versions(database) == [(1, ModelState.CANDIDATE)]
    assert model.version == 1


def test_due_is_a_rule_of_age_new_pictures_and_drift_alarms(
    database: sa.Engine, workshop: Workshop, put_in_force: PutInForce
) -> None:
    workshop.clock = utc_now
    assert str(workshop.due(PRODUCT)) == "not due: 0 pictures are released, 0 of them new to the newest model"
    kept(workshop, 3)
    assert workshop.due(PRODUCT).reasons == ("there is no model yet",)
    put_in_force()
    assert workshop.due(PRODUCT).reasons == ()
    workshop.rule = replace(workshop.rule, after_frames=3)
    assert workshop.due(PRODUCT).reasons == ("3 pictures were released that version 1 does not know",)
    workshop.rule = replace(workshop.rule, after_frames=4, after=timedelta(0))
    assert workshop.due(PRODUCT).reasons == ("version 1 is 0 days old",)
    workshop.rule = replace(workshop.rule, after=timedelta(days=1))
    workshop.clock = lambda: utc_now() + timedelta(days=2)
    assert workshop.due(PRODUCT).reasons == ("version 1 is 2 days old",)
    workshop.clock = utc_now
    with database.begin() as connection:
        alarm = "INSERT INTO alerts (kind, camera, product, received_at, frame_id) VALUES ('drift', 'cam', :product, now(), '')"
        connection.execute(sa.text(alarm), {"product": PRODUCT})
    assert workshop.due(PRODUCT).reasons == ("1 drift alarms since version 1",)


def test_a_candidate_that_knows_the_pictures_ends_their_being_due(workshop: Workshop) -> None:
    workshop.clock = utc_now
    workshop.rule = replace(workshop.rule, after_frames=16)
    kept(workshop, 16)
    assert workshop.due(PRODUCT).reasons
    workshop.refit(ORDER)
    due = workshop.due(PRODUCT)
    assert (due.reasons, due.released, due.unknown) == ((), 16, 0)
    kept(workshop, 2, 300)
    assert workshop.due(PRODUCT).unknown == 2


def test_the_report_tells_why(workshop: Workshop) -> None:
    kept(workshop, 16)
    _, report = workshop.refit(ORDER)
    assert re.search(r"^Why now: there is no model yet\.$", report, re.MULTILINE)


def test_cameras_with_enough_calibration_frames_have_thresholds_of_their_own(
    database: sa.Engine, workshop: Workshop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a folder, and those of a camera with too few, count for the threshold of all alone."""
    camera_of = {}
    for first, count, camera in ((100, 30, "oven-1"), (200, 25, "oven-2"), (300, 4, "oven-3"), (400, 6, None)):
        camera_of |= dict.fromkeys(kept(workshop, count, first, camera=camera), camera)
    defects = [keep(workshop.archive, 600 + number, scratched=True) for number in range(3)]
    release(database, defects, decision=REJECTED, challenge=True, camera="oven-1")
    model, report = workshop.refit(ORDER)
    manifest = read_manifest(Path(model.folder))
    assert manifest.calibration_cameras == tuple(camera_of[sha256] for sha256 in manifest.calibration_sha256)
    counted = Counter(manifest.calibration_cameras)
    assert counted["oven-1"] >= 4 <= counted["oven-2"]
    assert counted["oven-3"] < 4
    assert set(manifest.camera_thresholds) == {"oven-1", "oven-2"}
    for camera, threshold in manifest.camera_thresholds.items():
        of = zip(manifest.calibration_scores, manifest.calibration_cameras, strict=True)
        assert threshold == calibrate([score for score, own in of if own == camera], 0.2).threshold
    assert model.threshold == calibrate(manifest.calibration_scores, 0.2).threshold
    (said,) = [line for line in report.splitlines() if line.startswith("| oven\\-1 |") and "own" in line]
    assert f"| {counted['oven-1']} | its own threshold, {manifest.camera_thresholds['oven-1']:.4g}; with 95 %" in said
    assert "each of them. A camera with enough held-out pictures is judged by its own" in report
    assert "3 of 3 challenge parts found" in report
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(settings, name)))
    shown = CliRunner().invoke(models_app, ["show", "--product", PRODUCT, "--version", "1"])
    assert shown.exit_code == 0, shown.output
    assert f"its own threshold, {manifest.camera_thresholds['oven-2']:.4g}" in shown.output


def test_challenge_parts_are_judged_by_the_threshold_of_their_camera(fitted: FittedModel, workshop: Workshop) -> None:
    shas = [keep(workshop.archive, 600 + number) for number in range(40)]
    cameras = ["strict", "lax"] * 20
    parts = [
        ArchivedPicture(workshop.archive, sha256, 10**6, None, of) for sha256, of in zip(shas, cameras, strict=True)
    ]
    judge = with_cameras(fitted.detector, {"strict": [-1e6], "lax": [1e6]}, 0.5)
    assert challenge(judge, PictureSet(tuple(parts))).found.tolist() == [True, False] * 20
