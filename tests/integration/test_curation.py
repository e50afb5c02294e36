"""Curation on a real PostgreSQL and a real archive: what is decided, by whom, and what may not be."""

import csv
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

import infra.store.curation
from infra.archive import Archive, open_archive
from infra.errors import CurationError
from infra.frames import sha256_hex
from infra.pictures import encode_png
from infra.settings import Settings
from infra.store.audit import newest
from infra.store.curation import NewDecision, decide, kept_frames, newest_decisions, open_frames
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.schema import prepare_days
from infra.store.tables import FrameDecision, decisions
from trainer.life.curation import Curator

from ..small_model import part_picture
from .rows import FIRST, MODEL, NOON, batch, judged

RELEASED, REJECTED, OPEN = FrameDecision.RELEASED, FrameDecision.REJECTED, FrameDecision.OPEN
Keep = Callable[..., str]


@pytest.fixture
def archive(settings: Settings) -> Archive:
    return open_archive(settings.archive_location)


@pytest.fixture
def curator(database: sa.Engine, archive: Archive) -> Curator:
    return Curator(database, archive, "tile", "m.weber", 10**6)


@pytest.fixture
def keep(database: sa.Engine, archive: Archive) -> Keep:
    """Judge a frame of the line and keep its picture; returns the picture's hash."""
    with database.begin() as connection:
        prepare_days(connection, NOON)
    model = register_in_force(database, MODEL)
    mine = claim(database, FIRST, "scorer")
    counted = iter(range(10**6))

    def run(frame_id: str, state: str = "GOOD", p_value: float = 0.5, **changes: Any) -> str:
        number = next(counted)
        body = encode_png(part_picture(1000 + number))
        kept = {"archive_ref": archive.write(body), "sha256": sha256_hex(body)}
        row = judged(frame_id, number, model.id, state, p_value=p_value, run="monday", **(kept | changes))
        write_batch(database, [mine], batch(row), 7)
        return row.sha256

    return run


def write_picture(path: Path, seed: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = encode_png(part_picture(seed))
    path.write_bytes(body)
    return sha256_hex(body)


def state_of(database: sa.Engine, product: str = "tile") -> dict[str, tuple[FrameDecision, bool]]:
    return {each.sha256: (each.decision, each.challenge) for each in newest_decisions(database, product)}


def test_a_decision_is_followed_and_never_overwritten(database: sa.Engine, curator: Curator, keep: Keep) -> None:
    picture = keep("a")
    for decision, reason in [(RELEASED, "looks good"), (REJECTED, "there is a scratch"), (OPEN, "ask the shift lead")]:
        assert curator.set([picture], decision, reason).recorded == 1
    assert state_of(database) == {picture: (OPEN, False)}
    with database.connect() as connection:
        rows = connection.execute(sa.select(decisions).order_by(decisions.c.id)).all()
    assert [(row.decision, row.who, row.reason, row.camera, row.frame_id) for row in rows] == [
        ("released", "m.weber", "looks good", "cam", "a"),
        ("rejected", "m.weber", "there is a scratch", "cam", "a"),
        ("open", "m.weber", "ask the shift lead", "cam", "a"),
    ]
    assert [row.run for row in rows] == ["cam/monday/2026-03-03"] * 3
    audit = [(row.who, row.action, row.detail) for row in newest(database, 9, "product tile")]
    assert audit == [("m.weber", decision, {"sha256": [picture]}) for decision in (OPEN, REJECTED, RELEASED)]
    assert [frame.sha256 for frame in open_frames(database, "tile")] == [picture]


def test_what_changes_nothing_is_not_put_on_record_again(database: sa.Engine, curator: Curator, keep: Keep) -> None:
    picture = keep("a")
    assert curator.set([picture], OPEN, "no idea").recorded == 0  # without a decision it is open
    assert curator.set([picture, picture], RELEASED, "good").recorded == 1
    again = curator.set([picture], RELEASED, "good")
    assert (again.recorded, again.unchanged) == (0, 1)
    assert curator.set([picture], REJECTED, "scratch").recorded == 1
    assert curator.set([picture], REJECTED, "scratch, keep it", challenge=True).recorded == 1
    assert state_of(database) == {picture: (REJECTED, True)}


def test_the_production_run_is_the_job_and_without_one_camera_run_and_day(database: sa.Engine, keep: Keep) -> None:
    keep("a", job_id="order 7")
    keep("b")
    assert {frame.frame_id: frame.run for frame in kept_frames(database, "tile")} == {
        "a": "order 7",
        "b": "cam/monday/2026-03-03",
    }


def test_that_older_frames_are_left_out_is_said(
    database: sa.Engine, curator: Curator, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        keep(name)
    monkeypatch.setattr(infra.store.curation, "_MOST_ROWS", 3)
    with capture_logs() as logs:
        assert len(kept_frames(database, "tile")) == 3
    assert logs == []
    monkeypatch.setattr(infra.store.curation, "_MOST_ROWS", 2)
    with capture_logs() as logs:
        assert "2 open, 0 of them in quarantine" in "".join(curator.counts(0.05))
    (told,) = logs
    assert (told["event"], told["product"], told["frames"]) == ("curation.older_frames_left_out", "tile", 2)
    assert told["before"] == str(NOON + timedelta(milliseconds=1))


def test_only_kept_frames_can_be_decided_about(database: sa.Engine, curator: Curator, keep: Keep) -> None:
    keep("a", archive_ref=None)
    assert kept_frames(database, "tile") == []
    with pytest.raises(CurationError, match="the archive has no picture"):
        curator.set(["ab" * 32], RELEASED, "good")
    with pytest.raises(CurationError, match="the archive has no picture"):
        curator.set(["../../etc/passwd"], RELEASED, "good")
    with pytest.raises(CurationError, match="needs a reason"):
        curator.set([keep("b")], RELEASED, " ")
    with pytest.raises(CurationError, match="challenge part is a rejected one"):
        curator.set([keep("c")], RELEASED, "good", challenge=True)
    assert newest_decisions(database, "tile") == []


def test_a_frame_of_another_product_is_refused(database: sa.Engine, curator: Curator, keep: Keep) -> None:
    foreign = keep("a", product="cap")
    with pytest.raises(CurationError, match="a frame of cap, not of tile"):
        curator.set([foreign], RELEASED, "good")
    assert newest_decisions(database, "tile") == []


def test_a_rule_never_releases_a_frame_in_quarantine(database: sa.Engine, curator: Curator, keep: Keep) -> None:
    good, doubtful = keep("good", p_value=0.6), keep("doubtful", p_value=0.15)
    keep("high", p_value=0.04)
    defect = keep("defect", "DEFECT", p_value=0.3)
    with pytest.raises(CurationError, match=r"a rule cannot release from 0\.01"):
        curator.release_by_rule(0.01, 0.05)
    done, quarantined = curator.release_by_rule(0.2, 0.05)
    assert (done.recorded, quarantined) == (1, 2)
    (released,) = newest_decisions(database, "tile")
    assert (released.sha256, released.reason) == (good, "rule: GOOD with a p-value of 0.2 or more")
    assert curator.release_by_rule(0.1, 0.05)[0].recorded == 1
    assert set(state_of(database)) == {good, doubtful}
    assert curator.set([defect], RELEASED, "a false alarm").recorded == 1  # a person may
    assert curator.counts(0.05) == [
        "3 released",
        "0 rejected, 0 of them challenge parts",
        "1 open, 1 of them in quarantine: a p-value below 0.05, or not GOOD",
    ]


def test_a_folder_in_mvtec_layout_comes_in_and_goes_out_again(
    database: sa.Engine, curator: Curator, tmp_path: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    good = [write_picture(source / "train/good" / f"{n}.png", n) for n in range(3)]
    good.append(write_picture(source / "test/good/9.png", 9))
    crack = write_picture(source / "test/crack/1.png", 20)
    write_picture(source / "ground_truth/crack/1_mask.png", 21)
    (source / "train/good/again.png").write_bytes((source / "train/good/0.png").read_bytes())
    (source / "train/good/broken.png").write_bytes(b"no picture")
    runs = tmp_path / "runs.csv"
    runs.write_text("file,run\n0.png,monday\ntrain/good/1.png,tuesday\n")
    done = curator.import_folder(source, runs)
    assert (done.recorded, done.unchanged, done.repeated) == (5, 0, 1)
    assert [line.split(":")[0] for line in done.skipped] == ["train/good/broken.png"]
    found = {each.sha256: each for each in newest_decisions(database, "tile")}
    assert {each for each, row in found.items() if row.decision is RELEASED} == set(good)
    assert (found[crack].decision, found[crack].challenge) == (REJECTED, True)
    assert (found[good[0]].run, found[good[1]].run, found[good[2]].run) == ("monday", "tuesday", None)
    assert curator.import_folder(source).recorded == 0

    curator.set([good[3]], REJECTED, "a dent after all")
    assert curator.export_folder(target) == {"train/good": 3, "test/challenge": 1, "test/rejected": 1}
    assert {path.stem for path in (target / "train/good").iterdir()} == set(good[:3])
    assert (target / "test/challenge" / f"{crack}.png").read_bytes() == (source / "test/crack/1.png").read_bytes()
    with pytest.raises(CurationError, match="is not empty"):
        curator.export_folder(target)


def test_the_same_picture_in_two_classes_is_refused_as_a_whole(
    database: sa.Engine, curator: Curator, tmp_path: Path
) -> None:
    write_picture(tmp_path / "train/good/a.png", 1)
    write_picture(tmp_path / "test/crack/a.png", 1)
    with pytest.raises(CurationError, match="both"):
        curator.import_folder(tmp_path)
    assert newest_decisions(database, "tile") == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurationError, match="no JPEG or PNG"):
        curator.import_folder(tmp_path / "empty")


def test_decisions_go_out_as_csv_are_edited_and_come_back(
    database: sa.Engine, curator: Curator, keep: Keep, tmp_path: Path
) -> None:
    first, second, third = keep("a", part_id="part 7"), keep("b"), keep("c", "DEFECT", p_value=0.001)
    curator.set([first], RELEASED, "good, says Ömer")
    file = tmp_path / "decisions.csv"
    assert curator.export_csv(file) == 3
    with file.open(newline="", encoding="utf-8") as lines:
        rows = {row["sha256"]: row for row in csv.DictReader(lines)}
    assert {row["frame_id"]: (row["decision"], row["reason"]) for row in rows.values()} == {
        "a": ("released", "good, says Ömer"),
        "b": ("open", ""),
        "c": ("open", ""),
    }
    assert (rows[first]["part_id"], rows[first]["who"], rows[third]["p_value"]) == ("part 7", "m.weber", "0.001")
    rows[second] |= {"decision": "released", "reason": "looked at"}
    rows[third] |= {"decision": "rejected", "challenge": "yes", "reason": "crack"}
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[first]))
        writer.writeheader()
        writer.writerows(rows.values())
    assert curator.import_csv(file).recorded == 2
    assert state_of(database) == {first: (RELEASED, False), second: (RELEASED, False), third: (REJECTED, True)}


def test_no_cell_of_an_export_is_a_formula_and_what_comes_back_is_what_went_out(
    database: sa.Engine, curator: Curator, keep: Keep, tmp_path: Path
) -> None:
    picture = keep("-2", part_id="=1+1")
    curator.set([picture], RELEASED, "@looked at")
    file = tmp_path / "decisions.csv"
    curator.export_csv(file)
    with file.open(newline="", encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["frame_id"], row["part_id"], row["reason"], row["p_value"]) == ("'-2", "'=1+1", "'@looked at", "0.5")
    row |= {"sha256": "", "decision": "rejected", "reason": "'-1 mm"}  # found by the frame's name
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(row))
        writer.writeheader()
        writer.writerow(row)
    curator.import_csv(file)
    (made,) = newest_decisions(database, "tile")
    assert (made.decision, made.reason, made.frame_id) == (REJECTED, "-1 mm", "-2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sha256,decision\n{a},released\n", "needs the columns"),
        ("sha256,decision,reason\n{a},perhaps,x\n", r"line 2: a decision is one of .*not 'perhaps'"),
        ("sha256,decision,reason\n{a},released,\n", "line 2: a decision needs a reason"),
        ("camera,frame_id,decision,reason\ncam,z,released,x\n", "line 2: neither a sha256 nor"),
        ("product,sha256,decision,reason\ncap,{a},released,x\n", "line 2: it is about cap, not tile"),
        ("sha256,decision,reason\n{a},released,x\n{a},rejected,y\n", "both released and rejected"),
        ("sha256,decision,reason\n" + "00" * 32 + ",released,x\n", "line 2: the archive has no picture"),
    ],
)
def test_a_csv_that_is_not_right_changes_nothing(
    database: sa.Engine, curator: Curator, keep: Keep, tmp_path: Path, *, text: str, message: str
) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text(text.format(a=keep("a")))
    with pytest.raises(CurationError, match=message):
        curator.import_csv(file)
    assert newest_decisions(database, "tile") == []


def test_a_csv_may_name_frames_instead_of_hashes(
    database: sa.Engine, curator: Curator, keep: Keep, tmp_path: Path
) -> None:
    picture = keep("a")
    file = tmp_path / "decisions.csv"
    file.write_text("camera,frame_id,decision,reason\ncam,a,released,good\n")
    assert curator.import_csv(file).recorded == 1
    assert state_of(database) == {picture: (RELEASED, False)}


def test_a_picture_that_was_altered_in_the_archive_is_not_exported(
    settings: Settings, curator: Curator, keep: Keep, tmp_path: Path
) -> None:
    picture = keep("a")
    curator.set([picture], RELEASED, "good")
    (Path(settings.archive_location) / picture[:2] / picture).write_bytes(b"something else")
    with pytest.raises(CurationError, match="gone from the archive, or altered"):
        curator.export_folder(tmp_path / "out")


def test_products_do_not_share_decisions(database: sa.Engine) -> None:
    picture = "cd" * 32
    decide(database, [NewDecision("tile", picture, RELEASED, "m.weber", "good")])
    decide(database, [NewDecision("cap", picture, REJECTED, "m.weber", "a tile")])
    assert state_of(database) == {picture: (RELEASED, False)}
    assert state_of(database, "cap") == {picture: (REJECTED, False)}
