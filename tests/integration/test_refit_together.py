"""Refits of several products in one flow, on a real PostgreSQL: a candidate for each of them, or none at all."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from typer.testing import CliRunner

import trainer.life.commands.refit
import trainer.life.refit
from infra.errors import RefitError, TrainingSetError
from infra.settings import Settings
from infra.store.models import RegisteredModel, lock_product, models_in_force
from infra.store.promotions import list_models, model_row, promote, rollback
from infra.store.schema import prepare_days
from infra.store.tables import ModelState
from scorer.detector import load_artifact, load_extractor, read_manifest
from scorer.models import ArtifactLoader
from trainer.fit import BLOCKS_TOGETHER, FittedModel, fit_together
from trainer.images import drawn_pictures
from trainer.life.refit import Order, Workshop
from trainer.register import register

from ..small_model import SMALL, part_picture
from .curated import OPEN, REJECTED, keep, new_workshop, on_record, release
from .rows import NOON

TOGETHER = Order("cap", false_alarm_rate=0.2, others=("tile",))
CANDIDATE, IN_FORCE = ModelState.CANDIDATE, ModelState.IN_FORCE


@pytest.fixture(autouse=True)
def _small_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.life.refit, "choose_preset", lambda _: SMALL)


@pytest.fixture
def workshop(database: sa.Engine, settings: Settings) -> Workshop:
    return new_workshop(database, settings)


@pytest.fixture
def command(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `differline refit` in this process, with the small flow; returns what it printed, or raises."""

    @contextmanager
    def here(_: str | None = None) -> Iterator[Workshop]:
        yield workshop

    monkeypatch.setattr(trainer.life.commands.refit, "open_workshop", here)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(trainer.life.commands.refit_app, arguments)
        if done.exception is not None:
            raise done.exception
        return done.output

    return run


def kept(workshop: Workshop, product: str, count: int, first: int, **changes: Any) -> list[str]:
    pictures = [keep(workshop.archive, first + number) for number in range(count)]
    release(workshop.database, pictures, product=product, **changes)
    return pictures


def two_products(workshop: Workshop) -> tuple[list[str], list[str]]:
    return kept(workshop, "cap", 16, 100), kept(workshop, "tile", 20, 200)


def versions(database: sa.Engine) -> list[tuple[str, int, ModelState]]:
    return [(row.product, row.version, row.state) for row in list_models(database)]


@pytest.fixture(scope="module")
def caps_and_tiles() -> dict[str, FittedModel]:
    """What `differline train` makes of two products; tests register it, and none changes it."""
    sets = {
        name: drawn_pictures([part_picture(1000 * place + seed) for seed in range(20)])
        for place, name in enumerate(("cap", "tile"), start=1)
    }
    return fit_together(sets, SMALL, [load_extractor("random", 0)], false_alarm_rate=0.2)


@pytest.fixture
def before(workshop: Workshop, caps_and_tiles: dict[str, FittedModel]) -> dict[str, RegisteredModel]:
    """Both products in force, of one flow."""
    return {
        name: register(workshop.database, workshop.models_folder, model, "test")
        for name, model in caps_and_tiles.items()
    }


def test_products_in_one_flow_get_a_candidate_each_with_a_threshold_and_a_report_of_its_own(
    database: sa.Engine, workshop: Workshop, before: dict[str, RegisteredModel]
) -> None:
    caps, tiles = two_products(workshop)
    defects = [keep(workshop.archive, 600 + number, scratched=True) for number in range(4)]
    release(database, defects, product="tile", decision=REJECTED, challenge=True)
    done = workshop.refit_together(TOGETHER)
    assert models_in_force(database) == before
    assert versions(database) == [
        ("cap", 2, CANDIDATE),
        ("cap", 1, IN_FORCE),
        ("tile", 2, CANDIDATE),
        ("tile", 1, IN_FORCE),
    ]
    (cap, cap_report), (tile, tile_report) = done["cap"], done["tile"]
    assert cap.flow_sha256 == tile.flow_sha256 != before["cap"].flow_sha256
    assert cap.folder != tile.folder
    manifests = {model.product: read_manifest(Path(model.folder)) for model in (cap, tile)}
    assert [manifests[name].product for name in ("cap", "tile")] == ["cap", "tile"]
    assert manifests["cap"].architecture.blocks == BLOCKS_TOGETHER
    assert set(manifests["cap"].calibration_sha256) < set(caps)
    assert set(manifests["tile"].calibration_sha256) < set(tiles)
    learned = set(manifests["cap"].training_sha256)
    assert learned == set(manifests["tile"].training_sha256)
    assert learned == {*caps, *tiles} - {sha for each in manifests.values() for sha in each.calibration_sha256}
    assert manifests["cap"].threshold != manifests["tile"].threshold
    rows = {name: model_row(database, name, 2) for name in ("cap", "tile")}
    assert (rows["cap"].challenge_parts, rows["tile"].challenge_parts) == (None, 4)
    assert rows["tile"].challenge_found_before == 4
    assert [rows[name].report for name in ("cap", "tile")] == [cap_report, tile_report]
    for model, report in done.values():
        assert (Path(model.folder) / "report.md").read_text() == report
        assert (Path(model.folder) / "report.png").read_bytes().startswith(b"\x89PNG")
        load_artifact(Path(model.folder), model.flow_sha256, model.manifest_sha256, extractor=workshop.extractors[0])
    assert "16 released pictures of 16 production runs: 12 to learn from, 4 held out" in cap_report
    assert "20 released pictures of 20 production runs: 16 to learn from, 4 held out" in tile_report
    assert (
        "One flow learned from this product and from tile (20 released pictures): from 28 pictures in all" in cap_report
    )
    assert "of 4 challenge parts found" in tile_report
    assert "There are none: nothing is known" in cap_report


@pytest.mark.usefixtures("before")
def test_the_report_of_a_product_that_was_not_due_says_which_one_was(workshop: Workshop) -> None:
    two_products(workshop)
    workshop.rule = replace(workshop.rule, after_frames=20)
    _, report = workshop.refit_together(TOGETHER)["cap"]
    assert "Why now: tile: 20 pictures were released that version 1 does not know." in report


def test_promoting_one_product_of_a_flow_leaves_the_other_as_it_is(
    database: sa.Engine, workshop: Workshop, before: dict[str, RegisteredModel]
) -> None:
    two_products(workshop)
    workshop.refit_together(TOGETHER)
    cap = promote(database, "cap", 2, who="m.weber", reason="")
    assert models_in_force(database) == {"cap": cap, "tile": before["tile"]}
    assert models_in_force(database)["tile"].flow_sha256 != cap.flow_sha256
    rollback(database, "cap", who="m.weber", reason="")
    assert models_in_force(database) == before


def test_a_scorer_has_the_flow_of_several_products_in_memory_once(workshop: Workshop) -> None:
    two_products(workshop)
    (cap, _), (tile, _) = workshop.refit_together(TOGETHER).values()
    load = ArtifactLoader(torch.device("cpu"), "random", 0)
    first, second = load(cap), load(tile)
    assert first.flow is second.flow
    assert first.extractor is second.extractor
    assert first.manifest.threshold != second.manifest.threshold


@pytest.mark.usefixtures("before")
def test_a_refit_of_one_product_takes_all_that_share_its_flow_also_where_only_one_was_promoted(
    database: sa.Engine, workshop: Workshop, command: Any
) -> None:
    two_products(workshop)
    said = command("--product", "tile")
    assert "cap and tile: one flow of all of them, and a candidate for each" in said
    assert "# cap: a candidate" in said
    assert "# tile: a candidate" in said
    assert "cap version 2 is a candidate; the report is in" in said
    promote(database, "cap", 2, who="m.weber", reason="")
    command("--product", "cap")
    rows = {row.product: row for row in reversed(list_models(database))}
    assert {name: row.version for name, row in rows.items()} == {"cap": 3, "tile": 3}
    assert rows["cap"].flow_sha256 == rows["tile"].flow_sha256


@pytest.mark.usefixtures("before")
def test_a_product_can_have_a_flow_of_its_own_again(database: sa.Engine, workshop: Workshop, command: Any) -> None:
    two_products(workshop)
    command("--product", "tile", "--alone")
    assert [row[:2] for row in versions(database)] == [("cap", 1), ("tile", 2), ("tile", 1)]
    assert read_manifest(Path(model_row(database, "tile", 2).folder)).architecture.blocks == SMALL.blocks
    command("--product", "tile")
    assert [row[:2] for row in versions(database)] == [("cap", 1), ("tile", 3), ("tile", 2), ("tile", 1)]
    with pytest.raises(RefitError, match="--alone is for a flow of one"):
        command("--product", "tile", "--product", "cap", "--alone")


def test_products_that_never_shared_a_flow_do_when_both_are_named(workshop: Workshop, command: Any) -> None:
    two_products(workshop)
    command("--product", "tile", "--product", "cap", "--false-alarm-rate", "0.2")
    cap, tile = (model_row(workshop.database, name, 1) for name in ("cap", "tile"))
    assert cap.flow_sha256 == tile.flow_sha256


@pytest.mark.usefixtures("before")
def test_what_is_due_is_learned_anew_once_for_all_that_share_a_flow(
    database: sa.Engine, workshop: Workshop, command: Any
) -> None:
    two_products(workshop)
    kept(workshop, "foil", 17, 300)
    workshop.clock = lambda: NOON
    workshop.rule = replace(workshop.rule, after_frames=20)
    said = command("--if-due")
    assert "tile: due: 20 pictures were released" in said
    assert "cap: not due" in said
    assert sorted(row[:2] for row in versions(database)) == [
        ("cap", 1),
        ("cap", 2),
        ("foil", 1),
        ("tile", 1),
        ("tile", 2),
    ]
    assert "a candidate" not in command("--if-due")


@pytest.mark.usefixtures("before")
def test_a_product_that_cannot_be_learned_keeps_no_other_group_from_it(
    database: sa.Engine, workshop: Workshop, command: Any
) -> None:
    kept(workshop, "cap", 15, 100)
    kept(workshop, "tile", 20, 200)
    kept(workshop, "foil", 16, 300)
    workshop.rule = replace(workshop.rule, after_frames=1)
    with pytest.raises(
        RefitError, match="1 of 2 refits came to nothing: cap and tile: what is released of cap holds 15"
    ):
        command("--if-due")
    assert [row for row in versions(database) if row[2] is CANDIDATE] == [("foil", 1, CANDIDATE)]


def test_a_dry_run_says_what_each_would_learn_from_and_learns_nothing(
    database: sa.Engine, workshop: Workshop, command: Any
) -> None:
    two_products(workshop)
    said = command("--product", "cap", "--product", "tile", "--dry-run")
    assert "cap: would learn from 16 pictures of 16 production runs" in said
    assert "tile: would learn from 20 pictures of 20 production runs" in said
    assert versions(database) == []
    assert list(workshop.models_folder.rglob("manifest.json")) == []


def test_the_name_of_a_product_does_not_speak_to_the_terminal(workshop: Workshop, command: Any) -> None:
    kept(workshop, "cap", 16, 100)
    kept(workshop, "\x1b[31mtile", 16, 200)
    for options in (("--dry-run",), ()):
        said = command("--product", "cap", "--product", "\x1b[31mtile", *options)
        assert "\\x1b[31mtile: due: there is no model yet" in said
        assert "\x1b" not in said


def test_what_the_order_leaves_open_is_as_in_the_model_of_each_product(database: sa.Engine, workshop: Workshop) -> None:
    two_products(workshop)
    workshop.refit(Order("cap", false_alarm_rate=0.2))
    workshop.refit(Order("tile", false_alarm_rate=0.3))
    workshop.refit_together(Order("cap", others=("tile",)))
    assert [model_row(database, name, 2).false_alarm_rate for name in ("cap", "tile")] == [0.2, 0.3]
    workshop.refit(Order("tile", views=2))
    with pytest.raises(RefitError, match="--views was 1 for cap, 2 for tile, and one flow has one: say which"):
        workshop.refit_together(Order("cap", others=("tile",)))
    assert model_row(database, "cap", 2).version == 2


@pytest.mark.parametrize(
    "damage", ["too few", "gone", "altered", "of both", "a defect of the other", "a frame of the other"]
)
def test_a_picture_of_one_product_that_cannot_be_used_leaves_both_as_they_are(
    database: sa.Engine, workshop: Workshop, before: dict[str, RegisteredModel], settings: Settings, damage: str
) -> None:
    with database.begin() as connection:
        prepare_days(connection, NOON)
    caps, tiles = two_products(workshop)
    path = Path(settings.archive_location) / tiles[3][:2] / tiles[3]
    refused: type[Exception] = RefitError
    if damage == "too few":
        release(database, tiles[:5], product="tile", decision=OPEN)
        refused, why = TrainingSetError, "what is released of tile holds 15 usable pictures"
    elif damage == "gone":
        path.unlink()
        why = f"1 of 20 decided pictures of tile cannot be used, first: picture {tiles[3]} is gone"
    elif damage == "altered":
        path.write_bytes(b"something else")
        why = f"1 of 20 decided pictures of tile cannot be used, first: picture {tiles[3]}"
    elif damage == "of both":
        release(database, caps[:1], product="tile")
        why = f"picture {caps[0]} is decided about for cap and for tile: take one decision back"
    elif damage == "a defect of the other":
        release(database, caps[:1], product="tile", decision=REJECTED, challenge=True)
        why = f"picture {caps[0]} is decided about for cap and for tile"
    else:
        on_record(database, before["cap"].id, [caps[0]], product="cap")
        on_record(database, before["cap"].id, [tiles[0]], product="cap")
        why = f"picture {tiles[0]} is a frame of cap, not of tile"
    with pytest.raises(refused, match=why):
        workshop.refit_together(TOGETHER)
    with pytest.raises(refused, match=why):
        workshop.curated_together(["cap", "tile"])
    assert models_in_force(database) == before
    assert len(versions(database)) == 2


@pytest.mark.parametrize("busy", ["cap", "tile"])
def test_a_refit_of_any_of_the_products_keeps_the_others_waiting_and_holds_nothing(
    workshop: Workshop, busy: str
) -> None:
    two_products(workshop)
    with (
        workshop._alone(busy),
        pytest.raises(RefitError, match=f"another refit of {busy} is running; nothing was done"),
    ):
        workshop.refit_together(TOGETHER)
    with workshop._alone("tile", "cap"):
        for product in ("cap", "tile"):
            with pytest.raises(RefitError, match=f"another refit of {product} is running"), workshop._alone(product):
                pass
    assert workshop.refit_together(TOGETHER).keys() == {"cap", "tile"}


def test_a_refit_that_is_killed_while_it_registers_registers_none_of_its_products(
    database: sa.Engine, workshop: Workshop, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two_products(workshop)
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(settings, name)))
    program = [sys.executable, "-m", "tests.integration.refit_of_two"]
    with database.connect() as connection, (tmp_path / "err").open("w") as err:
        lock_product(connection, "tile")  # the second one is waited for
        with subprocess.Popen(program, stderr=err) as run:
            deadline = time.monotonic() + 120
            while not _waits_for_a_lock(database):
                assert run.poll() is None, (tmp_path / "err").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            run.send_signal(signal.SIGKILL)
        connection.rollback()
    assert len(list(workshop.models_folder.rglob("manifest.json"))) == 2
    until = time.monotonic() + 30  # PostgreSQL notices within moments that the connection is gone
    while True:
        try:
            workshop.refit_together(TOGETHER)
        except RefitError:
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            break
    assert versions(database) == [("cap", 1, CANDIDATE), ("tile", 1, CANDIDATE)]


def _waits_for_a_lock(database: sa.Engine) -> bool:
    with database.connect() as connection:
        found = (
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = current_database()"
        )
        return bool(connection.scalar(sa.text(f"{found} AND locktype = 'advisory' AND NOT granted")))
