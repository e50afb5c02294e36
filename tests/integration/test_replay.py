"""Replay and what is known before a promotion: archived frames scored again, beside their verdicts and never over them."""

import csv
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import trainer.life.replay
from infra.errors import ArchiveAwayError, PromotionError
from infra.frames import sha256_hex
from infra.settings import Settings
from infra.store.models import NewModel, RegisteredModel, models_in_force
from infra.store.promotions import ModelRow, model_row, promotions_of, set_shadow
from infra.store.schema import prepare_days
from infra.store.second_verdicts import changed_verdicts, seen_by
from infra.store.tables import SecondSource, VerdictState, audit_log, models, second_verdicts, verdicts
from scorer.detector import FLOW_FILE, MANIFEST_FILE
from trainer.fit import FittedModel
from trainer.life.commands import models_app, replay_app
from trainer.life.promotion import examine
from trainer.life.refit import Workshop
from trainer.life.replay import Replayed, replay
from trainer.register import save

from ..small_model import PRODUCT
from ..unit.scorer.detector.conftest import with_cameras
from .curated import REJECTED, keep, new_workshop, on_record, release
from .rows import NOON, register_candidate

PutInForce = Callable[[], RegisteredModel]
RUN = CliRunner()
FILES = {"flow": FLOW_FILE, "manifest": MANIFEST_FILE}
DAY = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))


@pytest.fixture
def workshop(database: sa.Engine, settings: Settings) -> Workshop:
    with database.begin() as connection:
        prepare_days(connection, NOON)
    return new_workshop(database, settings)


@pytest.fixture
def candidate(database: sa.Engine, workshop: Workshop, fitted: FittedModel, put_in_force: PutInForce) -> ModelRow:
    """A second version of the small model, beside the one in force."""
    put_in_force()
    register_candidate(database, save(workshop.models_folder, fitted, "test"))
    return model_row(database, PRODUCT, 2)


@pytest.fixture
def line(database: sa.Engine, workshop: Workshop, candidate: ModelRow) -> list[str]:
    """Six frames on record as GOOD; of the last two, parts 4 and 5, the pictures show a defect."""
    pictures = [keep(workshop.archive, 100 + number, scratched=number >= 4) for number in range(6)]
    on_record(database, candidate.id - 1, pictures)
    return pictures


def rows_of(database: sa.Engine, table: sa.Table) -> list[object]:
    with database.connect() as connection:
        return sorted(map(tuple, connection.execute(sa.select(table))), key=str)


@pytest.mark.usefixtures("line")
def test_which_shipped_parts_would_the_new_model_reject(
    database: sa.Engine, workshop: Workshop, candidate: ModelRow
) -> None:
    before = rows_of(database, verdicts)
    assert replay(workshop, candidate, *DAY) == Replayed(frames=6, kept=6, scored=6, before=0, lost=(), not_finite=0)
    assert rows_of(database, verdicts) == before
    changed = changed_verdicts(database, candidate.id)
    assert [(row.part_id, row.before, row.after) for row in changed] == [
        ("part 4", VerdictState.GOOD, VerdictState.DEFECT),
        ("part 5", VerdictState.GOOD, VerdictState.DEFECT),
    ]
    assert {row.source for row in changed} == {SecondSource.REPLAY}
    assert all(row.score_after > candidate.threshold for row in changed)


@pytest.mark.usefixtures("line")
def test_a_frame_is_scored_once_and_an_interrupted_replay_goes_on(
    database: sa.Engine, workshop: Workshop, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.life.replay, "FRAMES_AT_ONCE", 2)
    reads = iter(range(100))
    real = workshop.archive.read

    def fail_at_the_fourth(ref: str) -> bytes:
        if next(reads) == 3:
            raise ArchiveAwayError("the archive is away")
        return real(ref)

    monkeypatch.setattr(workshop.archive, "read", fail_at_the_fourth)
    with pytest.raises(ArchiveAwayError):
        replay(workshop, candidate, *DAY)
    assert len(rows_of(database, second_verdicts)) == 2
    first = replay(workshop, candidate, *DAY)
    assert (first.scored, first.before) == (4, 2)
    once = rows_of(database, second_verdicts)
    assert (replay(workshop, candidate, *DAY).scored, rows_of(database, second_verdicts)) == (0, once)


@pytest.mark.usefixtures("line")
def test_two_replays_at_once_score_every_frame_once(
    database: sa.Engine, workshop: Workshop, candidate: ModelRow
) -> None:
    threads = [threading.Thread(target=replay, args=(workshop, candidate, *DAY)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen_by(database, candidate.id).frames == 6


@pytest.mark.usefixtures("line")
def test_a_window_has_a_beginning_and_an_end(workshop: Workshop, candidate: ModelRow) -> None:
    done = replay(workshop, candidate, NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))
    assert (done.frames, done.scored) == (2, 2)


def test_frames_that_cannot_be_scored_again_are_counted_and_named(
    database: sa.Engine, workshop: Workshop, settings: Settings, candidate: ModelRow, line: list[str]
) -> None:
    on_record(database, 1, [None, None])
    (Path(settings.archive_location) / line[0][:2] / line[0]).unlink()
    (Path(settings.archive_location) / line[1][:2] / line[1]).write_bytes(b"altered")
    done = replay(workshop, candidate, *DAY)
    assert (done.frames, done.kept, done.scored) == (8, 6, 4)
    assert [line.split(":")[0] for line in done.lost] == ["cam/frame 0", "cam/frame 1"]
    assert "4 frames scored now, 0 before, of 6 kept ones that can be judged, of 8 in the window" in str(done)


def test_of_a_picture_that_nobody_can_judge_no_model_says_that_it_is_good(
    database: sa.Engine, workshop: Workshop, candidate: ModelRow
) -> None:
    pictures = [keep(workshop.archive, 100 + number) for number in range(4)]
    for picture, reason in zip(pictures, ("black", "over_exposed", "frozen", "no_model"), strict=True):
        unseen = {"state": "NO_VERDICT", "reason": reason, "score": None}
        on_record(database, candidate.id - 1, [picture], **unseen)
    done = replay(workshop, candidate, *DAY)
    assert (done.frames, done.kept, done.scored) == (4, 1, 1)  # the one that only had no model
    assert [row.frame_id for row in changed_verdicts(database, candidate.id)] == ["frame 3"]


def test_what_speaks_against_a_candidate(
    database: sa.Engine, workshop: Workshop, candidate: ModelRow, line: list[str]
) -> None:
    assert [
        "nobody knows which verdicts it would change" in each for each in examine(database, candidate).objections
    ] == [True]
    release(database, line)  # says a person, also of the two that the candidate calls a defect: 2 of 6 at a rate of 0.2
    replay(workshop, candidate, *DAY)
    assert examine(database, candidate).objections == ()
    more = [keep(workshop.archive, 200 + number, scratched=True) for number in range(4)]
    on_record(database, 1, more)
    release(database, more)
    replay(workshop, candidate, *DAY)
    (objection,) = examine(database, candidate).objections
    assert objection == "it calls 6 of 10 released pictures that it never saw a defect, more than 20.000% explains"
    release(database, more, decision=REJECTED)
    assert examine(database, candidate).objections == ()


def test_pictures_that_it_learned_from_are_no_evidence(
    database: sa.Engine, workshop: Workshop, candidate: ModelRow, line: list[str]
) -> None:
    release(database, line)
    replay(workshop, candidate, *DAY)
    assert seen_by(database, candidate.id).released == 6
    assert seen_by(database, candidate.id, line[:4]).released == 2


@pytest.fixture
def _as_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("DIFFERLINE_EXTRACTOR", "random")
    monkeypatch.setenv("DIFFERLINE_USER", "m.weber")


@pytest.mark.usefixtures("_as_environment", "line")
def test_the_commands_replay_compare_promote_and_roll_back(database: sa.Engine, tmp_path: Path) -> None:
    of = ["--product", PRODUCT]
    promote = ["promote", *of, "--version", "2", "--why", "new lamp"]
    refused = RUN.invoke(models_app, promote)
    assert isinstance(refused.exception, PromotionError)
    assert "nobody knows which verdicts it would change" in str(refused.exception)
    file = tmp_path / "changed.csv"
    window = ["--from", DAY[0].isoformat(), "--to", DAY[1].isoformat()]
    replayed = RUN.invoke(replay_app, [*of, *window, "--model", "2", "--changed", str(file)])
    assert replayed.exit_code == 0, replayed.output
    assert "6 frames scored now, 0 before, of 6 kept ones that can be judged, of 6 in the window" in replayed.stdout
    assert "2 verdicts differ, 2 of them would be rejected now" in replayed.stdout
    with file.open(newline="", encoding="utf-8") as lines:
        assert [row["part_id"] for row in csv.DictReader(lines)] == ["part 4", "part 5"]
    compared = RUN.invoke(models_app, ["compare", *of, "--version", "2"])
    assert "part 4" in compared.stdout
    promoted = RUN.invoke(models_app, promote)
    assert promoted.exit_code == 0, promoted.output
    assert "part 5" in promoted.stdout  # the list of what it changes
    assert models_in_force(database)[PRODUCT].version == 2
    listed = RUN.invoke(models_app, ["list"])
    assert [line.split("│")[2:4] for line in listed.stdout.splitlines() if "│ part" in line] == [
        [" 2       ", " in_force "],
        [" 1       ", " retired  "],
    ]
    back = RUN.invoke(models_app, ["rollback", *of, "--why", "too many alarms"])
    assert back.stdout.strip() == "part version 1 is in force again"
    shown = RUN.invoke(models_app, ["show", *of, "--version", "2"])
    assert "too many alarms" in shown.stdout
    assert [(row.who, row.reason) for row in promotions_of(database, PRODUCT)[:2]] == [
        ("m.weber", "too many alarms"),
        ("m.weber", "new lamp"),
    ]


@pytest.mark.usefixtures("_as_environment")
def test_a_model_whose_file_is_not_what_the_registry_says_is_not_put_in_force_even_by_force(
    database: sa.Engine, candidate: ModelRow
) -> None:
    path = Path(candidate.folder) / "flow.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    forced = ["promote", "--product", PRODUCT, "--version", "2", "--why", "I must", "--force"]
    refused = RUN.invoke(models_app, forced)
    assert isinstance(refused.exception, PromotionError)
    assert "the model is refused" in str(refused.exception)
    assert models_in_force(database)[PRODUCT].version == 1


def altered(folder: Path) -> None:
    path = folder / FLOW_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def without_flow(folder: Path) -> None:
    (folder / FLOW_FILE).unlink()


def without_anything(folder: Path) -> None:
    shutil.rmtree(folder)


def not_a_number(folder: Path) -> None:
    state = load_file(folder / FLOW_FILE)
    next(value for value in state.values() if value.is_floating_point()).view(-1)[0] = torch.nan
    save_file(state, folder / FLOW_FILE)


def of_the_future(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))


@pytest.mark.parametrize(
    ("spoil", "registered_so", "why"),
    [
        (altered, False, "SHA-256 is"),
        (without_flow, False, "No such file"),
        (without_anything, False, "No such file"),
        (not_a_number, True, "not finite"),
        (of_the_future, True, "format version 99 is unknown"),
    ],
)
@pytest.mark.usefixtures("_as_environment")
def test_a_rollback_to_a_model_that_a_scorer_would_refuse_is_refused_and_the_model_in_force_stays(
    database: sa.Engine, put_in_force: PutInForce, spoil: Callable[[Path], None], registered_so: bool, why: str
) -> None:
    first, second = put_in_force(), put_in_force()
    spoil(Path(first.folder))
    if registered_so:  # its hashes are right, and it is broken all the same
        hashes = {
            f"{name}_sha256": sha256_hex((Path(first.folder) / file).read_bytes()) for name, file in FILES.items()
        }
        with database.begin() as connection:
            connection.execute(sa.update(models).where(models.c.id == first.id).values(**hashes))
    history = promotions_of(database, PRODUCT)
    refused = RUN.invoke(models_app, ["rollback", "--product", PRODUCT, "--why", "false alarms"])
    assert isinstance(refused.exception, PromotionError)
    assert str(refused.exception).startswith("part version 1 is not put in force, the model is refused: ")
    assert why in str(refused.exception)
    assert models_in_force(database)[PRODUCT] == second
    assert promotions_of(database, PRODUCT) == history
    assert audit_length(database) == len(history)  # nothing was done, so nothing is told


def audit_length(database: sa.Engine) -> int:
    with database.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(audit_log)) or 0)


@pytest.mark.usefixtures("_as_environment")
def test_challenge_parts_are_scored_on_demand(
    database: sa.Engine, workshop: Workshop, put_in_force: PutInForce
) -> None:
    put_in_force()
    defects = [keep(workshop.archive, 300 + number, scratched=number < 3) for number in range(4)]
    release(database, defects, decision=REJECTED, challenge=True)
    said = RUN.invoke(models_app, ["challenge", "--product", PRODUCT])
    assert said.stdout.strip() == "part version 1: 3 of 4 challenge parts found: 75.0% (95 % 19.4% to 99.4%)"


def test_one_candidate_at_most_is_in_shadow(database: sa.Engine, candidate: ModelRow) -> None:
    def shadows() -> list[int]:
        return [version for version in (1, 2, 3) if model_row(database, PRODUCT, version).shadow]

    needed = [field.name for field in fields(NewModel) if field.default is MISSING]
    same = NewModel(**{name: getattr(candidate, name, 1.0) for name in needed})
    register_candidate(database, same)
    set_shadow(database, PRODUCT, 2, "m.weber")
    assert shadows() == [2]
    set_shadow(database, PRODUCT, 3, "m.weber")
    assert shadows() == [3]
    with pytest.raises(PromotionError, match="no candidate of version 1"):
        set_shadow(database, PRODUCT, 1, "m.weber")
    assert shadows() == [3]
    set_shadow(database, PRODUCT, None, "m.weber")
    assert shadows() == []


def test_a_replay_judges_each_camera_by_its_own_calibration(
    database: sa.Engine, workshop: Workshop, fitted: FittedModel, put_in_force: PutInForce
) -> None:
    in_force = put_in_force()
    pictures = [keep(workshop.archive, 100 + number) for number in range(4)]
    on_record(database, in_force.id, pictures[:2], camera="oven-1")
    on_record(database, in_force.id, pictures[2:], camera="oven-2")
    strict = with_cameras(fitted.detector, {"oven-1": [-1e6], "oven-2": [1e6]}, 0.5)
    register_candidate(database, save(workshop.models_folder, replace(fitted, detector=strict), "test"))
    assert replay(workshop, model_row(database, PRODUCT, 2), *DAY).scored == 4
    second = second_verdicts.c
    query = sa.select(second.camera, second.state, second.threshold, second.p_value).order_by(second.camera)
    with database.connect() as connection:
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [("oven-1", "DEFECT", -1e6, 0.5)] * 2 + [("oven-2", "GOOD", 1e6, 1.0)] * 2
