"""`differline trace` on a real PostgreSQL, an archive and the small model: each link of the chain, whole and broken."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from infra.archive import Archive, open_archive, reference_of
from infra.commands import trace_app
from infra.errors import SettingsError
from infra.settings import Settings
from infra.store import alerts as alert_store
from infra.store.alert_outcomes import judge
from infra.store.audit import newest
from infra.store.connect import transaction
from infra.store.models import RegisteredModel, register_in_force
from infra.store.positions import claim
from infra.store.promotions import rollback
from infra.store.results import DeadLetterRow, VerdictRow, write_batch
from infra.store.second_verdicts import SecondVerdict, add_second
from infra.store.tables import AlertOutcome, SecondSource, VerdictState, alerts, audit_log
from infra.store.traces import read_trace
from trainer.fit import FittedModel
from trainer.register import register

from ..unit.scorer.detector.conftest import with_cameras
from .rows import FIRST, MODEL, NOON, batch, dead, judged, unjudged

PICTURE = b"a picture"
SHA256 = hashlib.sha256(PICTURE).hexdigest()


class Traced:
    """A database to write to, and the command beside it."""

    def __init__(self, settings: Settings, database: sa.Engine) -> None:
        self.settings, self.database = settings, database

    def write(self, *rows: VerdictRow | DeadLetterRow) -> None:
        write_batch(self.database, [claim(self.database, FIRST, "test")], batch(*rows), 7)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(trace_app, arguments)

    def text(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> dict[str, list[dict[str, object]]]:
        return json.loads(self.text(*arguments, "--json"))

    @property
    def archive(self) -> Archive:
        archive = open_archive(self.settings.archive_location)
        archive.prepare()
        return archive

    def clock(self) -> datetime:
        """The database's time: between two deeds."""
        with self.database.connect() as connection:
            return connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()


@pytest.fixture
def traced(settings: Settings, database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Traced:
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(settings, name)))
    return Traced(settings, database)


def defect(model: RegisteredModel, **changes: object) -> VerdictRow:
    values = {
        "product": model.product,
        "run": "shift-1",
        "sequence": 41,
        "part_id": "MT-7",
        "job_id": "J-3",
        "sha256": SHA256,
        "captured_at": NOON - timedelta(seconds=2),
        "scored_at": NOON + timedelta(seconds=1),
        "score": 2.25,
        "threshold": 1.5,
        "p_value": 0.03125,
        "views": 7,
    }
    return judged("frame", 17, model.id, "DEFECT", **(values | changes))


def of_label(text: str, label: str) -> str:
    """The lines of a label, without it."""
    lines = text.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith(f"  {label}".ljust(16))]
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith(" " * 16)), len(lines))
    return "\n".join(line[16:] for line in lines[start:end])


def test_a_judged_frame_is_traced_from_its_picture_to_who_acknowledged_its_alert(
    traced: Traced, put_in_force: Callable[[], RegisteredModel], fitted: FittedModel
) -> None:
    model = put_in_force()
    traced.write(defect(model, archive_ref=traced.archive.write(PICTURE)))
    alert_store.acknowledge(traced.database, 1, "m.weber", "a scratch")
    text = traced.text("frame")
    manifest = fitted.detector.manifest
    assert text.startswith("frame frame of camera cam\n")
    for label, expected in {
        "picture": f"sha256 {SHA256}\nin the archive, and has its hash",
        "part": "MT-7, product part, job J-3",
        "run": "shift-1, sequence 41",
        "bus": "frames/0 at 17",
        "captured": "2026-03-03 11:59:58.000 UTC",
        "received": "2026-03-03 12:00:00.017 UTC",
        "scored": "2026-03-03 12:00:01.000 UTC",
        "verdict": "DEFECT, result result",
        "score": "2.25",
        "threshold": "1.5",
        "p-value": "0.03125",
        "views": "7",
        "folder": model.folder,
        "flow": f"sha256 {model.flow_sha256}: on disk, unchanged",
        "manifest": f"sha256 {model.manifest_sha256}: on disk, unchanged",
    }.items():
        assert of_label(text, label) == expected
    assert of_label(text, "committed").startswith(f"{datetime.now(UTC):%Y-}")
    assert of_label(text, "model").startswith("part version 1, preset ")
    assert "20.000% asked for, 20.000% attainable" in of_label(text, "false alarms")
    for label, hashes in (("trained on", manifest.training_sha256), ("calibrated on", manifest.calibration_sha256)):
        shown = of_label(text, label).splitlines()
        assert shown[0] == f"{len(hashes)} frames, by the manifest"
        assert shown[1:4] == [f"sha256 {sha256}" for sha256 in hashes[:3]]
        assert shown[4:] == [f"and {len(hashes) - 3} more: --json has them all"]
    acknowledged, promoted = newest(traced.database, 2)
    assert of_label(text, "in force") == (
        f"trained by test, {promoted.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC (audit row 1)"
    )
    opened, done = of_label(text, "alert 1").splitlines()
    assert opened.startswith("defect, opened ")
    assert done.startswith("acknowledge by m.weber, ")
    assert done.endswith(f"(audit row {acknowledged.id}): a scratch")


def test_json_has_all_of_it(traced: Traced, put_in_force: Callable[[], RegisteredModel], fitted: FittedModel) -> None:
    model = put_in_force()
    traced.write(defect(model), unjudged("frame", 18, camera="other", reason="score_not_finite", score=float("nan")))
    alert_store.acknowledge(traced.database, 1, "m.weber", "a scratch")
    found = json.loads(traced.text("frame", "--json"), parse_constant=pytest.fail)
    first, second = found["verdicts"]
    assert (first["camera"], first["sha256"], first["bus_offset"], first["picture"]) == (
        "cam",
        SHA256,
        17,
        "archive_away",
    )
    assert first["captured_at"] == "2026-03-03T11:59:58+00:00"
    manifest = fitted.detector.manifest
    assert first["model"]["training_sha256"] == list(manifest.training_sha256)
    assert first["model"]["calibration_sha256"] == list(manifest.calibration_sha256)
    assert first["model"]["files"] == {"flow.safetensors": "whole", "manifest.json": "whole"}
    assert first["model"]["put_in_force"][0]["who"] == "test"
    assert first["alerts"][0]["acknowledged"][0]["reason"] == "a scratch"
    assert (second["camera"], second["score"], second["model"], second["alerts"]) == ("other", "nan", None, [])


def test_what_other_models_say_of_a_frame_stands_beside_its_verdict(traced: Traced) -> None:
    registered = [register_in_force(traced.database, MODEL) for _ in range(3)]
    row = defect(registered[0], product="tile")
    other = judged("other", 18, registered[0].id)
    traced.write(row, other)
    said = {
        "source": SecondSource.SHADOW,
        "product": "tile",
        "state": VerdictState.GOOD,
        "score": 1.25,
        "p_value": 0.5,
        "threshold": 1.75,
        "views": 8,
        "scored_at": datetime(2199, 3, 3, tzinfo=UTC),
    }
    keys = [(registered[2].id, row), (registered[1].id, row), (registered[1].id, other)]
    with transaction(traced.database) as connection:
        add_second(
            connection,
            [SecondVerdict(model_id, of.received_at, of.camera, of.frame_id, **said) for model_id, of in keys],
        )
    text = traced.text("frame")
    told = "GOOD, score 1.25, threshold 1.75, p-value 0.5; tile, shadow, scored 2199-03-03 00:00:00.000 UTC"
    assert of_label(text, "by version 2") == of_label(text, "by version 3") == told
    (verdict,) = traced.json("frame")["verdicts"]
    assert [(each["version"], each["state"]) for each in verdict["seconds"]] == [(2, "GOOD"), (3, "GOOD")]
    (verdict,) = traced.json("other")["verdicts"]
    assert [each["version"] for each in verdict["seconds"]] == [2]
    assert "by version" not in traced.text("frame", "--as-of", "2199-03-02")


def test_an_alert_that_was_resolved_says_who_and_as_what(traced: Traced) -> None:
    traced.write(defect(register_in_force(traced.database, MODEL), product="tile"))
    alert_store.acknowledge(traced.database, 1, "a.first", "I look")
    judge(traced.database, 1, "m.weber", "a hair", AlertOutcome.FALSE_ALARM)
    opened, first, then = of_label(traced.text("frame"), "alert 1").splitlines()
    assert "nobody" not in opened
    assert first.startswith("acknowledge by a.first, ")
    assert then.startswith("false_alarm by m.weber, ")
    assert then.endswith(": a hair")
    assert "(audit row " in then


def test_of_a_frame_id_that_was_used_again_one_is_traced_by_its_time(traced: Traced) -> None:
    traced.write(unjudged("frame", 1))
    write_batch(traced.database, [claim(traced.database, FIRST, "test")], batch(unjudged("frame", 9 * 86_400_000)), 7)
    assert len(read_trace(traced.database, "frame").verdicts) == 2
    (one,) = read_trace(traced.database, "frame", "cam", received_at=NOON + timedelta(days=9)).verdicts
    assert one.received_at == NOON + timedelta(days=9)
    assert not read_trace(traced.database, "frame", received_at=NOON).found


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("flow.safetensors", "alter", "THE FILE ON DISK WAS ALTERED"),
        ("flow.safetensors", "remove", "THE FILE IS NOT ON DISK"),
        ("manifest.json", "alter", "THE FILE ON DISK WAS ALTERED"),
        ("manifest.json", "remove", "THE FILE IS NOT ON DISK"),
        ("flow.safetensors", "folder", "THE FILE ON DISK CANNOT BE READ"),
    ],
)
def test_a_model_file_that_is_not_what_was_registered_is_said(
    traced: Traced, put_in_force: Callable[[], RegisteredModel], file: str, change: str, said: str
) -> None:
    model = put_in_force()
    traced.write(defect(model))
    path = Path(model.folder) / file
    data = path.read_bytes()
    path.unlink()
    if change == "alter":
        path.write_bytes(data.replace(b"a", b"b", 1))
    elif change == "folder":
        path.mkdir()
    text = traced.text("frame")
    broken, other = ("flow", "manifest") if file.startswith("flow") else ("manifest", "flow")
    assert of_label(text, broken).endswith(said)
    assert of_label(text, other).endswith("on disk, unchanged")
    by_manifest = broken == "flow"  # nothing is believed of another manifest
    assert ("by the manifest" in of_label(text, "trained on")) == by_manifest
    assert ("by the registry" in of_label(text, "calibrated on")) != by_manifest


def test_other_files_that_the_manifest_names_are_looked_at_too(traced: Traced, tmp_path: Path) -> None:
    digests = {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("flow", "local.safetensors", "gone", "../up")
    }
    manifest = {
        "training_sha256": ["1" * 64],
        "calibration_sha256": [],
        "files": dict(list(digests.items())[1:]),
        "x": 1,
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "flow.safetensors").write_text("flow")
    (tmp_path / "local.safetensors").write_text("altered")
    (tmp_path.parent / "up").write_text("../up")  # no name of a manifest leads out of its folder
    new = replace(
        MODEL,
        folder=str(tmp_path),
        flow_sha256=digests["flow"],
        manifest_sha256=hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest(),
        training_frames=2,
    )
    traced.write(defect(register_in_force(traced.database, new)))
    (verdict,) = traced.json("frame")["verdicts"]
    assert verdict["model"]["files"] == {
        "flow.safetensors": "whole",
        "manifest.json": "whole",
        "local.safetensors": "altered",
        "gone": "missing",
        "../up": "missing",
    }
    assert of_label(traced.text("frame"), "trained on").startswith("1 frames, by the manifest; THE REGISTRY SAYS 2")


def test_a_picture_is_looked_for_in_the_archive_and_checked(traced: Traced) -> None:
    ref = reference_of(SHA256)
    kept, lost = unjudged("frame", 1, sha256=SHA256, archive_ref=ref), unjudged("other", 2, sha256=SHA256)
    named = unjudged("named", 3, sha256="1" * 64, archive_ref=ref)
    traced.write(kept, lost, named)

    def states() -> list[str]:
        return [str(traced.json(frame)["verdicts"][0]["picture"]) for frame in ("frame", "other", "named")]

    assert states() == ["archive_away", "archive_away", "another"]
    assert "the archive does not answer" in traced.text("frame")
    archive = traced.archive
    assert states() == ["missing", "not_kept", "another"]
    assert "NOT IN THE ARCHIVE ANY MORE" in traced.text("frame")
    archive.write(PICTURE)
    assert states() == ["whole", "whole", "another"]
    path = Path(traced.settings.archive_location) / ref
    path.write_bytes(b"another")
    assert states() == ["altered", "altered", "another"]
    assert "ALTERED" in of_label(traced.text("frame"), "picture")
    assert "ANOTHER PICTURE" in of_label(traced.text("named"), "picture")


def test_a_frame_without_a_verdict_says_why(traced: Traced) -> None:
    traced.write(unjudged("frame", 1))
    text = traced.text("frame")
    assert of_label(text, "verdict") == "NO_VERDICT (no_model), result result"
    assert of_label(text, "model") == "none judged it"
    assert of_label(text, "scored") == "not scored"
    assert of_label(text, "score") == of_label(text, "alerts") == "none"
    assert of_label(text, "part") == "none, product tile, job none"
    assert of_label(text, "run") == "none, sequence none"


def test_a_dead_lettered_frame_says_why(traced: Traced) -> None:
    traced.write(
        dead("frame", 1, run="r", sequence=0, detail="cut short\n\x1b[31m", body_ref=traced.archive.write(PICTURE)),
        dead("empty", 2, camera="", reason="empty_body"),
    )
    text = traced.text("frame")
    assert text.startswith("frame frame of camera cam\n")
    assert of_label(text, "dead letter") == r"broken_image: cut short\n\x1b[31m"
    assert of_label(text, "body") == f"{reference_of(SHA256)}\nin the archive, and has its hash"
    assert (of_label(text, "run"), of_label(text, "bus")) == ("r, sequence 0", "frames/0 at 1")
    assert of_label(traced.text("empty", "--camera", ""), "body") == "it had none"
    assert traced.json("empty")["dead_letters"][0]["picture"] is None


def test_a_frame_id_of_two_cameras_is_shown_for_each_and_one_can_be_asked_for(traced: Traced) -> None:
    traced.write(unjudged("1", 1, camera="b"), dead("1", 2, camera="c"), unjudged("1", 3, camera="a"), unjudged("2", 4))
    text = traced.text("1")
    titles = [line for line in text.splitlines() if line.startswith("frame ")]
    assert titles == ["frame 1 of camera a", "frame 1 of camera b", "frame 1 of camera c"]
    only = traced.json("1", "--camera", "b")
    assert ([each["camera"] for each in only["verdicts"]], only["dead_letters"]) == (["b"], [])


def test_an_id_that_a_producer_used_again_is_shown_each_time_with_its_own_alert(traced: Traced) -> None:
    model = register_in_force(traced.database, MODEL)
    traced.write(judged("1", 1, model.id, "DEFECT"))
    traced.write(judged("1", 2, model.id, "DEFECT", received_at=NOON + timedelta(days=30)))
    first, second = read_trace(traced.database, "1").verdicts
    assert (first.bus_offset, second.bus_offset) == (1, 2)
    assert [[alert.id for alert in each.alerts] for each in (first, second)] == [[1], [2]]


@pytest.mark.parametrize(
    "arguments", [("no-such",), ("frame", "--camera", "no-such"), ("frame", "--as-of", "2026-03-03")]
)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_an_unknown_frame_is_one_line_and_exit_code_1(
    traced: Traced, arguments: tuple[str, ...], as_json: tuple[str, ...]
) -> None:
    traced.write(unjudged("frame", 1))
    unknown = traced.run(*arguments, *as_json)
    assert (unknown.exit_code, unknown.stdout, unknown.stderr.count("\n")) == (1, "", 1)
    assert f"no frame {arguments[0]}" in unknown.stderr
    assert arguments[-1] in unknown.stderr


@pytest.mark.parametrize("frame", ["\udcff", "a\x1b[2J", "%", "'; DROP TABLE verdicts"])
def test_an_unknown_frame_of_any_name_is_unknown(traced: Traced, frame: str) -> None:
    unknown = traced.run(frame, "--camera", frame)
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 1)
    assert "\x1b" not in unknown.stderr


def test_a_time_that_is_none_is_refused(traced: Traced) -> None:
    for time in ("yesterday", "", "2026-02-30", "0001-01-01T00:00:00+14:00"):
        refused = traced.run("frame", "--as-of", time)
        assert isinstance(refused.exception, SettingsError)
        assert "2026-03-03T12:00:00Z" in str(refused.exception)


def test_as_of_shows_what_was_on_record_then(traced: Traced) -> None:
    first = register_in_force(traced.database, MODEL)
    before = traced.clock()
    traced.write(judged("frame", 1, first.id, "DEFECT"), dead("dead", 2))
    written = traced.clock()
    alert_store.acknowledge(traced.database, 1, "m.weber", "a scratch")
    acknowledged = traced.clock()
    register_in_force(traced.database, MODEL)
    rollback(traced.database, "tile", who="a.beck", reason="false alarms")
    for frame in ("frame", "dead"):
        assert traced.run(frame, "--as-of", before.isoformat()).exit_code == 1

    def shown(at: datetime | None) -> tuple[str, list[str], list[str]]:
        text = traced.text("frame", *(() if at is None else ("--as-of", at.isoformat())))
        assert text.startswith("as on record at 20") == (at is not None)
        in_force = [line.split()[0] for line in of_label(text, "in force").splitlines()]
        opened, *done = of_label(text, "alert 1").splitlines()
        return opened.partition(", ")[2].partition(", ")[2], [line.split()[2] for line in done], in_force

    nobody = "nobody has acknowledged it"
    assert shown(written)[1:] == ([], ["trained"])
    assert shown(written)[0].endswith(nobody)
    assert shown(acknowledged)[1:] == (["m.weber,"], ["trained"])
    assert nobody not in shown(acknowledged)[0]
    assert shown(None)[1:] == (["m.weber,"], ["trained", "rolled_back"])
    assert "dead letter" in traced.text("dead", "--as-of", written.astimezone(UTC).replace(tzinfo=None).isoformat())


def test_as_of_leaves_out_an_alert_that_was_opened_later(traced: Traced) -> None:
    model = register_in_force(traced.database, MODEL)
    traced.write(judged("frame", 1, model.id, "DEFECT"))
    at = traced.clock()
    with traced.database.begin() as connection:
        row = connection.execute(sa.select(alerts)).mappings().one()
        again = {name: row[name] for name in ("camera", "product", "received_at", "frame_id")}
        connection.execute(sa.insert(alerts).values(kind="dead_letters", **again))
    assert [alert.id for alert in read_trace(traced.database, "frame", as_of=at).verdicts[0].alerts] == [1]
    assert [alert.id for alert in read_trace(traced.database, "frame").verdicts[0].alerts] == [1, 2]


def without_audit(database: sa.Engine) -> None:
    """As it is with what was done before there was an audit log."""
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
        connection.execute(sa.delete(audit_log))
        connection.execute(sa.text("ALTER TABLE audit_log ENABLE TRIGGER USER"))


def test_what_is_not_in_the_audit_log_is_shown_and_said(traced: Traced) -> None:
    model = register_in_force(traced.database, MODEL)
    traced.write(judged("frame", 1, model.id, "DEFECT"))
    alert_store.acknowledge(traced.database, 1, "m.weber", "a scratch")
    without_audit(traced.database)
    register_in_force(traced.database, MODEL)
    rollback(traced.database, "tile", who="a.beck", reason="false alarms")
    text = traced.text("frame")
    first, second = of_label(text, "in force").splitlines()
    assert first.startswith("trained by test, ")
    assert first.endswith("(not in the audit log)")
    assert second.startswith("rolled_back by a.beck, ")
    assert second.endswith("(audit row 4): false alarms")
    assert of_label(text, "alert 1").endswith("(not in the audit log): a scratch")


def test_the_audit_log_is_believed_where_a_table_says_something_else(traced: Traced) -> None:
    model = register_in_force(traced.database, MODEL)
    traced.write(judged("frame", 1, model.id, "DEFECT"))
    alert_store.acknowledge(traced.database, 1, "m.weber", "a scratch")
    with traced.database.begin() as connection:
        for statement in (
            "UPDATE alert_actions SET who = 'somebody else'",
            "UPDATE promotions SET who = 'somebody else'",
            "UPDATE models SET flow_sha256 = repeat('9', 64)",
        ):
            connection.execute(sa.text(statement))
    text = traced.text("frame")
    assert "somebody else" not in text
    assert of_label(text, "alert 1").count("m.weber") == 1
    said = f"THE AUDIT LOG HAS OTHER HASHES OF IT: flow {MODEL.flow_sha256}, manifest {MODEL.manifest_sha256}"
    assert of_label(text, "in force").endswith(said)


def test_text_from_outside_is_shown_as_text(traced: Traced) -> None:
    nasty = "\x1b]0;x\x07[red]\r\n\u202e{0}"
    traced.write(
        unjudged(
            nasty, 1, camera=nasty, product=nasty, part_id=nasty, job_id=nasty, run=nasty, sequence=0, simulated=nasty
        )
    )
    text = traced.text(nasty)
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    shown = r"\x1b]0;x\x07[red]\r\n\u202e{0}"
    assert text.startswith(f"frame {shown} of camera {shown}\n")
    assert of_label(text, "part") == f"{shown}, product {shown}, job {shown}"
    assert traced.json(nasty)["verdicts"][0]["part_id"] == nasty


def test_a_frame_and_its_alerts_are_found_by_index(traced: Traced) -> None:
    model = register_in_force(traced.database, MODEL)
    traced.write(judged("frame", 1, model.id, "DEFECT"))
    asked: list[tuple[str, object]] = []

    def listen(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked.append((statement, parameters))

    sa.event.listen(traced.database, "before_cursor_execute", listen)
    assert read_trace(traced.database, "frame").found
    sa.event.remove(traced.database, "before_cursor_execute", listen)
    plans = {}
    with traced.database.connect() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan TO off"))
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plans[statement.partition("FROM ")[2].split()[0]] = "\n".join(plan.scalars())
    assert plans.keys() == {
        "verdicts",
        "dead_letters",
        "models",
        "promotions",
        "audit_log",
        "alerts",
        "alert_actions",
        "second_verdicts",
    }
    for table in ("verdicts", "dead_letters", "alerts"):
        assert "frame_id" in plans[table].partition("Index Cond")[2]
        assert "Seq Scan" not in plans[table]
    assert "subject" in plans["audit_log"].partition("Index Cond")[2]


def test_a_camera_with_a_threshold_of_its_own_is_said(traced: Traced, settings: Settings, fitted: FittedModel) -> None:
    detector = with_cameras(fitted.detector, {"cam": [1.5], "other": [9.0, 9.5]}, 0.5)
    model = register(traced.database, Path(settings.models_folder), replace(fitted, detector=detector), "test")
    traced.write(defect(model))
    asked, own = of_label(traced.text("frame"), "false alarms").splitlines()
    assert asked.endswith("threshold 9")
    assert own == "cam has a threshold of its own, 1.5, by 1 of these frames"
    (found,) = traced.json("frame")["verdicts"]
    assert found["model"]["camera_thresholds"] == {"cam": 1.5, "other": 9.5}
    assert found["model"]["calibration_cameras"] == ["cam", "other", "other"]
