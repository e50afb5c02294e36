"""The line as a user runs it: the commands, real files, real engines, and a kill -9 in between."""

import json
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import sqlalchemy as sa

from infra.engines import running_engines
from infra.settings import Settings
from infra.store import tables
from infra.store.connect import open_database
from infra.store.truth import scores_with_truth

from .commands import QUICK_FIT, Differline

PRODUCT = "flange"


@pytest.fixture(scope="module")
def differline() -> Iterator[Differline]:
    """The command with engines that stay up over the module, so that each call does not start them anew."""
    with tempfile.TemporaryDirectory(prefix="differline-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with running_engines(Settings(data_dir=folder)):
            yield Differline(folder)


@pytest.fixture(scope="module")
def trained(differline: Differline) -> Differline:
    """The same with a quick model of simulated flanges in force; each test has cameras of its own."""
    parts = differline.data_dir / "parts"
    differline.run(
        *("ingest", "simulate", "--product", PRODUCT, "--frames", "16", "--defect-rate", "0", "--to-folder", str(parts))
    )
    images = ("--images", str(parts / "train" / "good"))
    fitting = Differline(differline.data_dir, program=QUICK_FIT)
    done = fitting.run("train", "--product", PRODUCT, *images, "--views", "1", "--false-alarm-rate", "0.2")
    assert f"{PRODUCT} version 1 is in force" in done.stdout
    return differline


def account(differline: Differline, camera: str, *, balanced: bool = True) -> dict[str, Any]:
    """The account of one camera; the exit code says whether all balance."""
    book = json.loads(differline.run("ledger", "--json", expect=0 if balanced else 1).stdout)
    (found,) = [entry for entry in book["cameras"] if entry["camera"] == camera]
    assert found["balanced"] == balanced
    return dict(found)


def test_simulated_frames_are_judged_and_the_ledger_balances(trained: Differline) -> None:
    simulate = ("ingest", "simulate", "--camera", "cam1", "--product", PRODUCT)
    trained.run(*simulate, "--frames", "8", "--defect-rate", "0.5")
    assert account(trained, "cam1", balanced=False)["waiting"] == 8
    trained.run("score", "--until-idle", "1")
    camera = account(trained, "cam1")
    assert camera["received"] == camera["good"] + camera["defect"] == 8
    with running_engines(Settings(data_dir=trained.data_dir)) as engines:
        database = open_database(engines.database_url)
        truths = [row.truth for row in scores_with_truth(database, ["cam1"])]
        database.dispose()
    assert 0 < truths.count("good") < 8


def test_bad_input_is_accounted_for_and_the_line_goes_on(trained: Differline) -> None:
    folder = trained.data_dir / "odd"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(60, 190, (90, 120, 3), np.uint8)
    encode = {
        "alpha.png": np.dstack([picture, np.full((90, 120), 9, np.uint8)]),
        "grey.jpg": picture[..., 0],
        "sixteen.png": picture.astype(np.uint16) * 257,
        "ok.jpg": picture,
    }
    for name, pixels in encode.items():
        cv2.imwrite(str(folder / name), pixels)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    (folder / "truncated.jpg").write_bytes((folder / "ok.jpg").read_bytes()[:900])
    cv2.imwrite(str(folder / "black.png"), np.zeros((90, 120, 3), np.uint8))
    cv2.imwrite(str(folder / "large.png"), np.zeros((2100, 2000), np.uint8))
    trained.run("ingest", "folder", str(folder), "--camera", "odd", "--product", PRODUCT)
    trained.run("ingest", "folder", str(folder), "--camera", "other", "--product", "unheard-of")
    trained.run("score", "--until-idle", "1", DIFFERLINE_MAX_PIXELS="4000000")
    odd, other = account(trained, "odd"), account(trained, "other")
    dead = {"broken_image": 1, "empty_body": 1, "not_an_image": 1, "too_many_pixels": 1}
    assert odd["dead_lettered"] == other["dead_lettered"] == dead
    assert (odd["received"], odd["good"] + odd["defect"], odd["no_verdict"]) == (9, 4, {"black": 1})
    assert (other["received"], other["no_verdict"]) == (9, {"black": 1, "unknown_product": 4})


def test_a_killed_scorer_is_followed_by_one_that_resumes_exactly(trained: Differline) -> None:
    frames = 48
    simulate = ("ingest", "simulate", "--camera", "killed", "--product", PRODUCT)
    trained.run(*simulate, "--frames", str(frames))
    scorer = trained.start("score", DIFFERLINE_BATCH_FRAMES="2")
    try:
        wait_for_verdicts(trained, "killed", 4)
    finally:
        scorer.kill()
        scorer.communicate()
    before = account(trained, "killed", balanced=False)
    assert 4 <= before["accounted"] < frames
    trained.run("score", "--until-idle", "1")
    camera = account(trained, "killed")
    assert (camera["received"], camera["good"] + camera["defect"], camera["duplicates"]) == (frames, frames, 0)


def wait_for_verdicts(differline: Differline, camera: str, verdicts: int) -> None:
    """Return as soon as a camera has so many: asked of the database itself, since a command would come too late."""
    counted = sa.select(sa.func.count()).select_from(tables.verdicts).where(tables.verdicts.c.camera == camera)
    deadline = time.monotonic() + 120
    with running_engines(Settings(data_dir=differline.data_dir)) as engines:
        database = open_database(engines.database_url)
        with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while connection.execute(counted).scalar_one() < verdicts:
                assert time.monotonic() < deadline, "the scorer scores nothing"
        database.dispose()


def test_a_scorer_finishes_on_sigterm_and_exits_0(trained: Differline) -> None:
    trained.run("ingest", "simulate", "--camera", "stopped", "--product", PRODUCT, "--frames", "1")
    scorer = trained.start("score")
    deadline = time.monotonic() + 120
    while not account_is_balanced(trained):
        assert time.monotonic() < deadline, "the scorer scores nothing"
    scorer.send_signal(signal.SIGTERM)
    _, errors = scorer.communicate(timeout=30)
    assert scorer.returncode == 0, errors
    assert "scorer.ended" in errors


def account_is_balanced(differline: Differline) -> bool:
    """Whether every camera's account balances."""
    book = differline.start("ledger", "--json")
    output, _ = book.communicate(timeout=60)
    return bool(json.loads(output)["balanced"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ingest", "folder", "/nowhere", "--camera", "c", "--product", "p"), "/nowhere"),
        (("ingest", "folder", "EMPTY", "--camera", "c", "--product", "p"), "no"),
        (("train", "--product", "p", "--images", "EMPTY"), "EMPTY"),
        (("train", "--product", "p", "--images", "FEW"), "16"),
        (("train", "--product", "p", "--images", "FEW", "--preset", "large"), "large"),
        (("evaluate", "EMPTY"), "EMPTY"),
        (("unheard-of",), "unheard-of"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_one_line(
    differline: Differline, arguments: tuple[str, ...], says: str
) -> None:
    empty, few = differline.data_dir / "EMPTY", differline.data_dir / "FEW"
    empty.mkdir(exist_ok=True)
    few.mkdir(exist_ok=True)
    for index in range(15):
        cv2.imwrite(str(few / f"{index}.png"), np.full((32, 32), index * 9, np.uint8))
    real = [str(differline.data_dir / word) if word in ("EMPTY", "FEW") else word for word in arguments]
    done = differline.run(*real, expect=2)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("differline: ")
    assert says in last
    assert "Traceback" not in done.stderr


def test_unknown_settings_and_absent_weights_are_told_in_one_line(differline: Differline) -> None:
    done = differline.run("ledger", expect=2, DIFFERLINE_COLOUR="red")
    assert done.stderr == "differline: unknown setting in the environment: DIFFERLINE_COLOUR\n"
    done = differline.run(
        "train", "--product", "p", "--images", ".", expect=2, DIFFERLINE_EXTRACTOR="/nowhere.safetensors"
    )
    assert done.stderr.startswith("differline: ")
    assert "/nowhere.safetensors" in done.stderr.splitlines()[-1]
