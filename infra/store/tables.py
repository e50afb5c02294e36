"""The tables, as SQLAlchemy Core; migrations/ makes them, and a test compares the two.

`verdicts`, `heatmaps` and `dead_letters` grow with the frames and are partitioned by the UTC day of `received_at`, the time at
which the bus took the frame: it is the same whenever a record is read again, so the primary key holds across restarts. A frame
is known by camera and id together, as CloudEvents has it: ids of two cameras may be the same.
"""

from datetime import date
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData()

PARTITIONED = ("verdicts", "heatmaps", "dead_letters")


class VerdictState(StrEnum):
    """What a frame leaves with."""

    GOOD = "GOOD"
    DEFECT = "DEFECT"
    NO_VERDICT = "NO_VERDICT"


class NoVerdictReason(StrEnum):
    """Why a frame that could be decoded was not judged; it never looks good."""

    UNKNOWN_PRODUCT = "unknown_product"
    NO_MODEL = "no_model"
    MODEL_REFUSED = "model_refused"
    SCORE_NOT_FINITE = "score_not_finite"
    BLACK = "black"
    OVER_EXPOSED = "over_exposed"
    FROZEN = "frozen"  # the same picture again and again
    LATE = "late"  # older than `late_after_s` when its scoring would have begun


UNUSABLE = (NoVerdictReason.BLACK, NoVerdictReason.OVER_EXPOSED, NoVerdictReason.FROZEN)
"""Reasons that lie in the picture: no model may say anything of it, now or later."""


class ModelState(StrEnum):
    """Where a registered model stands."""

    CANDIDATE = "candidate"
    IN_FORCE = "in_force"
    RETIRED = "retired"


class PromotionKind(StrEnum):
    """How a model came into force."""

    FIRST = "first"
    TRAINED = "trained"  # by `differline train`, which asks nothing
    PROMOTED = "promoted"
    FORCED = "forced"
    ROLLED_BACK = "rolled_back"


class RequestKind(StrEnum):
    """What somebody at the dashboard asks the trainer to do with the models of a product."""

    REFIT = "refit"
    SHADOW = "shadow"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class RequestOutcome(StrEnum):
    """What came of a request."""

    DONE = "done"
    REFUSED = "refused"  # something speaks against it
    FAILED = "failed"


class SecondSource(StrEnum):
    """How a model that was not in force came to see a frame."""

    SHADOW = "shadow"  # live, beside the model in force
    REPLAY = "replay"  # later, from the archive


class FrameDecision(StrEnum):
    """What was decided about a frame; without a decision it is open."""

    RELEASED = "released"  # defect-free: it may be learned from
    REJECTED = "rejected"
    OPEN = "open"


class AlertKind(StrEnum):
    """What an alert is about."""

    DEFECT = "defect"
    DEAD_LETTERS = "dead_letters"  # more frames in a minute cannot be judged than the limit allows
    LEDGER_GAP = "ledger_gap"
    CAMERA_HEALTH = "camera_health"
    DRIFT = "drift"


class CameraTrouble(StrEnum):
    """What is wrong with a camera."""

    SILENT = "silent"
    FROZEN = "frozen"
    BLACK = "black"
    OVER_EXPOSED = "over_exposed"
    OUT_OF_FOCUS = "out_of_focus"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_BEHIND = "clock_behind"


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"  # somebody looks after it
    RESOLVED = "resolved"  # nothing is left to do


class AlertOutcome(StrEnum):
    """What an alert about a frame turned out to be, by the person who resolved it."""

    FALSE_ALARM = "false_alarm"
    REAL_DEFECT = "real_defect"


class SkipReason(StrEnum):
    """Why a camera that runs freely has no frame where it should have one; such a frame was never accepted."""

    BUS_AWAY = "bus_away"  # and the spool was full, or there was none
    CAMERA_AWAY = "camera_away"  # by the camera's own count, or its pace


class Role(StrEnum):
    """What somebody is on the dashboard; each may do what those before it may."""

    NONE = "none"  # may not even look
    VIEWER = "viewer"
    INSPECTOR = "inspector"
    ENGINEER = "engineer"
    ADMIN = "admin"


class DriftKind(StrEnum):
    """What is watched for drift: the scores, or the quality of the pictures."""

    SCORE = "score"
    QUALITY = "quality"


class DriftCause(StrEnum):
    """Where to look first. Worse pictures change the scores, too: the product is the cause where pictures are as before."""

    LENS_OR_LIGHT = "lens_or_light"
    PRODUCT = "product"


def _time(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[object]:
    default_clause = sa.text(default) if default else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default_clause)


verdicts = sa.Table(
    "verdicts",
    metadata,
    _time("received_at"),
    sa.Column("frame_id", sa.Text, nullable=False),
    sa.Column("result_id", sa.Text, nullable=False),  # OPC 40100-1: ResultId
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("bus_offset", sa.BigInteger, nullable=False),
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),  # ProductId
    sa.Column("part_id", sa.Text),  # PartId
    sa.Column("job_id", sa.Text),  # JobId
    sa.Column("run", sa.Text),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("sha256", sa.Text, nullable=False),  # of the encoded picture, in hex
    sa.Column("simulated", sa.Text),  # IsSimulated, with the ground truth
    _time("captured_at"),
    _time("scored_at", nullable=True),
    _time("committed_at", default="clock_timestamp()"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("model_id", sa.BigInteger, sa.ForeignKey("models.id")),  # RecipeId
    sa.Column("score", sa.Double),
    sa.Column("p_value", sa.Double),
    sa.Column("threshold", sa.Double),
    sa.Column("views", sa.Integer),
    sa.Column("archive_ref", sa.Text),  # the picture in the archive, where it is kept
    sa.Column("decode_ms", sa.REAL),
    sa.Column("score_ms", sa.REAL),  # this frame's share of its batch
    sa.Column("focus", sa.REAL),  # these three: see infra/picture_quality.py
    sa.Column("brightness", sa.REAL),
    sa.Column("contrast", sa.REAL),
    sa.PrimaryKeyConstraint("received_at", "camera", "frame_id"),
    sa.CheckConstraint("state IN ('GOOD', 'DEFECT', 'NO_VERDICT')", name="verdicts_state"),
    sa.CheckConstraint("(state = 'NO_VERDICT') = (reason IS NOT NULL)", name="verdicts_reason"),
    sa.CheckConstraint(
        "state = 'NO_VERDICT' OR "
        "(score IS NOT NULL AND score > '-Infinity' AND score < 'Infinity' AND model_id IS NOT NULL)",
        name="verdicts_score_is_finite",
    ),
    sa.Index("verdicts_camera", "camera", sa.text("received_at DESC")),
    sa.Index("verdicts_frame", "frame_id", "camera"),
    sa.Index(
        "verdicts_kept",
        "product",
        sa.text("received_at DESC"),
        postgresql_where=sa.text("archive_ref IS NOT NULL"),
    ),
    sa.Index("verdicts_part", "part_id", sa.text("received_at DESC"), postgresql_where=sa.text("part_id IS NOT NULL")),
    sa.Index("verdicts_not_good", "received_at", "camera", "frame_id", postgresql_where=sa.text("state <> 'GOOD'")),
    postgresql_partition_by="RANGE (received_at)",
)

rollup_marks = (
    sa.Table(  # ten minutes of a camera whose verdicts are to be added up anew; a trigger of `verdicts` writes them
        "rollup_marks",
        metadata,
        sa.Column("camera", sa.Text, nullable=False),
        _time("at"),
        _time("marked_at", default="now()"),
        sa.Index("rollup_marks_camera", "camera", "at"),
    )
)

verdict_rollups = sa.Table(  # verdicts, added up; see infra/store/rollups.py
    "verdict_rollups",
    metadata,
    sa.Column("camera", sa.Text, nullable=False),
    _time("at"),  # where the ten minutes begin
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("model_id", sa.BigInteger, nullable=False, autoincrement=False),  # 0: no model
    sa.Column("frames", sa.BigInteger, nullable=False),
    sa.Column("defects", sa.BigInteger, nullable=False),
    sa.Column("no_verdicts", sa.BigInteger, nullable=False),
    sa.Column("lowest", sa.Double),  # of the scores of what was judged; NULL where nothing was
    sa.Column("q05", sa.Double),
    sa.Column("q25", sa.Double),
    sa.Column("median", sa.Double),
    sa.Column("q75", sa.Double),
    sa.Column("q95", sa.Double),
    sa.Column("highest", sa.Double),
    sa.Column("threshold", sa.Double),
    sa.Column("p_values", postgresql.ARRAY(sa.Integer), nullable=False),  # how many in each fiftieth of (0, 1]
    sa.Column("focus", sa.Double),  # medians
    sa.Column("brightness", sa.Double),
    sa.Column("contrast", sa.Double),
    _time("rolled_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("camera", "at", "product", "model_id"),
    sa.CheckConstraint("cardinality(p_values) = 50", name="verdict_rollups_p_values"),
    sa.Index("verdict_rollups_at", "at"),
)

heatmaps = sa.Table(
    "heatmaps",
    metadata,
    _time("received_at"),
    sa.Column("camera", sa.Text, nullable=False, server_default=""),  # '' from a scorer of before revision 0004
    sa.Column("frame_id", sa.Text, nullable=False),
    sa.Column("png", sa.LargeBinary, nullable=False),  # 16-bit greyscale; see infra/heatmaps.py for the scale
    sa.PrimaryKeyConstraint("received_at", "camera", "frame_id"),
    postgresql_partition_by="RANGE (received_at)",
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    _time("received_at"),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("bus_offset", sa.BigInteger, nullable=False),
    sa.Column("frame_id", sa.Text, nullable=False),
    sa.Column("camera", sa.Text, nullable=False),  # '' where the message names none
    sa.Column("run", sa.Text),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("headers", postgresql.JSONB, nullable=False),
    sa.Column("body_ref", sa.Text),  # the body in the archive; NULL where it was empty
    _time("committed_at", default="clock_timestamp()"),
    sa.Column(
        "original", sa.LargeBinary, nullable=False, server_default=""
    ),  # key and headers; see infra/dead_letters.py
    sa.PrimaryKeyConstraint("received_at", "topic", "partition", "bus_offset"),
    sa.Index("dead_letters_frame", "frame_id", "camera"),
    sa.Index("dead_letters_committed", "committed_at"),  # how many in the last minute
    postgresql_partition_by="RANGE (received_at)",
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("flow_sha256", sa.Text, nullable=False),
    sa.Column("manifest_sha256", sa.Text, nullable=False),
    sa.Column("preset", sa.Text, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("false_alarm_rate", sa.Double, nullable=False),  # asked for
    sa.Column("attainable_rate", sa.Double, nullable=False),  # what the number of calibration frames allows
    sa.Column("views", sa.Integer, nullable=False),
    sa.Column("heat_scale", sa.Double, nullable=False),
    sa.Column("training_frames", sa.Integer, nullable=False),
    sa.Column("calibration_frames", sa.Integer, nullable=False),
    sa.Column("registered_by", sa.Text, nullable=False),
    _time("registered_at", default="clock_timestamp()"),
    sa.Column("shadow", sa.Boolean, nullable=False, server_default=sa.text("false")),  # scores beside the one in force
    sa.Column("challenge_parts", sa.Integer),  # NULL: not shown any
    sa.Column("challenge_found", sa.Integer),
    sa.Column("challenge_found_before", sa.Integer),  # by the model that was in force; NULL: there was none
    sa.Column("report", sa.Text),  # Markdown, for a person
    # Of its calibration pictures, at the levels of infra/store/models.py; NULL: registered before revision 0013.
    sa.Column("calibration_quantiles", postgresql.ARRAY(sa.Double)),  # of the scores
    sa.Column("calibration_quality", postgresql.ARRAY(sa.Double, dimensions=2)),  # of focus, brightness and contrast
    sa.Column("score_histogram", postgresql.JSONB(none_as_null=True)),  # see infra/score_histogram.py; NULL: not known
    sa.UniqueConstraint("product", "version", name="models_product_version"),
    sa.CheckConstraint("state IN ('candidate', 'in_force', 'retired')", name="models_state"),
    sa.CheckConstraint("state = 'candidate' OR NOT shadow", name="models_shadow"),
    sa.Index("models_in_force", "product", unique=True, postgresql_where=sa.text("state = 'in_force'")),
    sa.Index("models_in_shadow", "product", unique=True, postgresql_where=sa.text("shadow")),
)

decisions = sa.Table(  # appended to, never changed: the newest one of a picture counts
    "decisions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),  # of the encoded picture, which is in the archive
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("camera", sa.Text),  # NULL where the picture did not come from the line
    sa.Column("frame_id", sa.Text),
    sa.Column("run", sa.Text),  # of production: its frames stay together when pictures are held out
    sa.Column("challenge", sa.Boolean, nullable=False, server_default=sa.text("false")),  # each candidate is shown it
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _time("decided_at", default="clock_timestamp()"),
    sa.CheckConstraint("decision IN ('released', 'rejected', 'open')", name="decisions_decision"),
    sa.CheckConstraint("decision = 'rejected' OR NOT challenge", name="decisions_challenge"),
    sa.Index("decisions_newest", "product", "sha256", sa.text("id DESC")),
)

curation = (
    sa.Table(  # what stands of each picture, kept by triggers on `verdicts` and `decisions`; see the migration 0012
        "curation",
        metadata,
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False, server_default="open"),  # the newest one
        sa.Column("challenge", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("decision_id", sa.BigInteger),  # its number; NULL where nobody decided
        _time("received_at", nullable=True),  # this and the next ones are of its newest frame; NULL: not from the line
        sa.Column("camera", sa.Text),
        sa.Column("frame_id", sa.Text),
        sa.Column("part_id", sa.Text),
        sa.Column("run", sa.Text),  # of production: the job, and without one the camera's run and day (UTC)
        sa.Column("state", sa.Text),
        sa.Column("score", sa.Double),
        sa.Column("p_value", sa.Double),
        sa.Column("threshold", sa.Double),
        sa.Column(
            "standing",  # the p-value of a GOOD frame, in (0, 1]; of a DEFECT less 2; -3 where there is none
            sa.Double,
            sa.Computed(
                "CASE WHEN received_at IS NULL THEN NULL WHEN state = 'GOOD' AND p_value <> 'NaN' THEN p_value "
                "WHEN state = 'DEFECT' AND p_value <> 'NaN' THEN p_value - 2 ELSE -3 END",
                True,
            ),
        ),
        sa.PrimaryKeyConstraint("product", "sha256"),
        sa.CheckConstraint("decision IN ('released', 'rejected', 'open')", name="curation_decision"),
        sa.Index("curation_open", "product", "standing", "sha256", postgresql_where=sa.text("decision = 'open'")),
        sa.Index("curation_decided", "product", "decision", "sha256"),
    )
)

promotions = sa.Table(  # appended to, never changed
    "promotions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("model_id", sa.BigInteger, sa.ForeignKey("models.id"), nullable=False),
    sa.Column("replaced_id", sa.BigInteger, sa.ForeignKey("models.id")),  # NULL: none was in force
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _time("done_at", default="clock_timestamp()"),
    sa.CheckConstraint("kind IN ('first', 'trained', 'promoted', 'forced', 'rolled_back')", name="promotions_kind"),
    sa.Index("promotions_newest", "product", sa.text("id DESC")),
)

second_verdicts = sa.Table(  # what a model says that was not in force, beside `verdicts` and never instead
    "second_verdicts",
    metadata,
    sa.Column("model_id", sa.BigInteger, sa.ForeignKey("models.id"), nullable=False),
    _time("received_at"),
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("frame_id", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("p_value", sa.Double, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("views", sa.Integer, nullable=False),
    _time("scored_at"),
    sa.Column("state_before", sa.Text),  # of the verdict on record, written by the database; NULL where there was none
    sa.PrimaryKeyConstraint("model_id", "received_at", "camera", "frame_id"),
    sa.CheckConstraint("source IN ('shadow', 'replay')", name="second_verdicts_source"),
    sa.CheckConstraint("state IN ('GOOD', 'DEFECT')", name="second_verdicts_state"),
    sa.Index(
        "second_verdicts_changed",
        "model_id",
        sa.text("received_at DESC"),
        "camera",
        "frame_id",
        postgresql_where=sa.text("state_before <> state"),
    ),
)

model_requests = sa.Table(  # asked for at the dashboard, done by the trainer; see infra/store/model_requests.py
    "model_requests",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("version", sa.Integer),  # of a rollback the one that is to leave; of shadow NULL: let none look on
    sa.Column("force", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _time("asked_at", default="clock_timestamp()"),
    _time("cancelled_at", nullable=True),
    sa.Column("cancelled_by", sa.Text),
    _time("taken_at", nullable=True),
    sa.Column("worker", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),  # how often it was taken
    _time("beat_at", nullable=True),  # when its worker last said that it lives
    sa.Column("stage", sa.Text),
    sa.Column("progress", sa.Double),  # 0 to 1
    _time("done_at", nullable=True),
    sa.Column("outcome", sa.Text),
    sa.Column("message", sa.Text),  # one line, without control characters
    sa.CheckConstraint("what IN ('refit', 'shadow', 'promote', 'rollback')", name="model_requests_what"),
    sa.CheckConstraint(
        "CASE what WHEN 'refit' THEN version IS NULL WHEN 'shadow' THEN true ELSE version IS NOT NULL END",
        name="model_requests_version",
    ),
    sa.CheckConstraint("what = 'promote' OR NOT force", name="model_requests_force"),
    sa.CheckConstraint(
        "(cancelled_at IS NULL) = (cancelled_by IS NULL) AND "
        "(cancelled_at IS NULL OR (taken_at IS NULL AND outcome IS NULL))",
        name="model_requests_cancelled",
    ),
    sa.CheckConstraint(
        "(taken_at IS NULL) = (worker IS NULL) AND (taken_at IS NULL) = (beat_at IS NULL)", name="model_requests_taken"
    ),
    sa.CheckConstraint("progress BETWEEN 0 AND 1", name="model_requests_progress"),
    sa.CheckConstraint(
        "CASE WHEN outcome IS NULL THEN done_at IS NULL AND message IS NULL "
        "ELSE outcome IN ('done', 'refused', 'failed') AND done_at IS NOT NULL AND message IS NOT NULL END",
        name="model_requests_outcome",
    ),
    sa.Index("model_requests_newest", "product", sa.text("id DESC")),
    sa.Index(
        "model_requests_open",
        "product",
        "what",
        unique=True,
        postgresql_where=sa.text("outcome IS NULL AND cancelled_at IS NULL"),
    ),
)

positions = sa.Table(
    "positions",
    metadata,
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("next_offset", sa.BigInteger),  # NULL: nothing stored yet, begin at the oldest record
    sa.Column("epoch", sa.BigInteger, nullable=False),  # raised by each claim; a write with an older one is refused
    sa.Column("worker", sa.Text, nullable=False),
    _time("updated_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("topic", "partition"),
)

attempts = sa.Table(  # what is, or was last, worked on; finished where it lies before the stored position
    "attempts",
    metadata,
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("first_offset", sa.BigInteger, nullable=False),
    sa.Column("last_offset", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # at the first of them, one after the other
    sa.Column("worker", sa.Text, nullable=False),
    _time("started_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("topic", "partition"),
)

outbox = sa.Table(  # what the relay still has to publish; see infra/store/outbox.py for the order
    "outbox",
    metadata,
    sa.Column("txid", sa.BigInteger, nullable=False, server_default=sa.text("pg_current_xact_id()::text::bigint")),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    _time("received_at"),
    sa.Column("camera", sa.Text),  # NULL from a scorer of before revision 0004
    sa.Column("frame_id", sa.Text, nullable=False),
    _time("created_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("txid", "id"),
    sa.CheckConstraint("kind IN ('verdict', 'dead_letter')", name="outbox_kind"),
    sa.Index("outbox_dead_letters", "txid", "id", postgresql_where=sa.text("kind = 'dead_letter'")),
)

output_cursors = sa.Table(  # up to where each output has passed the outbox; see infra/store/output_cursors.py
    "output_cursors",
    metadata,
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("txid", sa.BigInteger, nullable=False),  # of the last row that was passed, as the next one
    sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
    sa.Column("refused_in_a_row", sa.Integer, nullable=False, server_default="0"),  # with nothing taken in between
    _time("begun_at", default="clock_timestamp()"),
    _time("moved_at", nullable=True),
    _time("turn_at", default="clock_timestamp()"),  # when a relay last had the turn
    sa.PrimaryKeyConstraint("sink", "kind"),
    sa.CheckConstraint("kind IN ('verdict', 'dead_letter')", name="output_cursors_kind"),
)

output_refusals = sa.Table(  # what a peer will never take; see infra/store/output_refusals.py
    "output_refusals",
    metadata,
    sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("txid", sa.BigInteger, nullable=False),  # of the row of the outbox, as the next five
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    _time("received_at"),
    sa.Column("camera", sa.Text),
    sa.Column("frame_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _time("refused_at", default="clock_timestamp()"),
    _time("again_at", nullable=True),  # when somebody wanted it sent again; NULL: nobody, or it was refused again
    _time("delivered_at", nullable=True),
    sa.UniqueConstraint("sink", "txid", "id", name="output_refusals_row"),
    sa.CheckConstraint("kind IN ('verdict', 'dead_letter')", name="output_refusals_kind"),
    sa.Index("output_refusals_newest", "sink", "refused_at"),
    sa.Index(
        "output_refusals_again",
        "sink",
        "number",
        postgresql_where=sa.text("again_at IS NOT NULL AND delivered_at IS NULL"),
    ),
)

camera_runs = sa.Table(
    "camera_runs",
    metadata,
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False, server_default="0"),  # told by ingest
    sa.Column("last_sequence", sa.BigInteger, nullable=False, server_default="-1"),  # highest that was accounted for
    sa.Column("accounted", sa.BigInteger, nullable=False, server_default="0"),
    _time("updated_at", default="clock_timestamp()"),
    sa.Column(
        "missing", sa.BigInteger, sa.Computed("GREATEST(last_sequence + 1 - accounted, 0)", True), nullable=False
    ),
    sa.Column("missing_alerted", sa.BigInteger, nullable=False, server_default="0"),  # see infra/store/gaps.py
    _time("ended_at", nullable=True),  # told by ingest, where it ended the run itself
    sa.Column(
        "captured", sa.BigInteger, nullable=False, server_default="0"
    ),  # on the bus or in a spool; told by ingest
    sa.PrimaryKeyConstraint("camera", "run"),
    sa.Index("camera_runs_gaps", "camera", "run", postgresql_where=sa.text("missing > missing_alerted")),
)

skipped_frames = sa.Table(  # told by ingest; they have no sequence and are no gap in the ledger
    "skipped_frames",
    metadata,
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("frames", sa.BigInteger, nullable=False),
    _time("updated_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("camera", "run", "reason"),
    sa.CheckConstraint("reason IN ('bus_away', 'camera_away')", name="skipped_frames_reason"),
)

ledger_counts = sa.Table(
    "ledger_counts",
    metadata,
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # GOOD, DEFECT, NO_VERDICT or DEAD_LETTER
    sa.Column("reason", sa.Text, nullable=False),  # '' where the state needs none
    sa.Column("frames", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("camera", "state", "reason"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    _time("received_at"),
    sa.Column("frame_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="open"),
    _time("opened_at", default="clock_timestamp()"),
    sa.Column("run", sa.Text),  # of a ledger_gap, which is about no frame: its frame_id is ''
    sa.Column("missing", sa.BigInteger),  # of a ledger_gap: how many frames
    sa.Column("detail", sa.Text),  # of camera_health: a CameraTrouble; of a drift: a DriftCause
    sa.Column("outcome", sa.Text),  # an AlertOutcome; NULL where nobody said
    _time("resolved_at", nullable=True),
    sa.CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name="alerts_state"),
    sa.CheckConstraint(
        "outcome IS NULL OR (outcome IN ('false_alarm', 'real_defect') AND state = 'resolved')", name="alerts_outcome"
    ),
    sa.CheckConstraint("(state = 'resolved') = (resolved_at IS NOT NULL)", name="alerts_resolved"),
    sa.Index("alerts_camera", "camera", sa.text("opened_at DESC"), sa.text("id DESC")),
    sa.Index("alerts_kind", "kind", sa.text("opened_at DESC"), sa.text("id DESC")),
    sa.Index("alerts_product", "product", sa.text("opened_at DESC"), sa.text("id DESC")),
    sa.Index("alerts_false_alarms", "opened_at", postgresql_where=sa.text("outcome = 'false_alarm'")),
    sa.Index("alerts_newest", sa.text("opened_at DESC"), sa.text("id DESC")),
    sa.Index("alerts_open", sa.text("opened_at DESC"), sa.text("id DESC"), postgresql_where=sa.text("state = 'open'")),
    sa.Index(
        "alerts_state",
        "state",
        sa.text("opened_at DESC"),
        sa.text("id DESC"),
        postgresql_where=sa.text("state <> 'open'"),
    ),
    sa.Index("alerts_frame", "frame_id", "camera"),
    sa.Index(
        "alerts_camera_health",
        "camera",
        "detail",
        sa.text("opened_at DESC"),
        postgresql_where=sa.text("kind = 'camera_health'"),
    ),
    sa.Index("alerts_open_gaps", "camera", "run", postgresql_where=sa.text("kind = 'ledger_gap' AND state = 'open'")),
)

drift_states = sa.Table(  # what the drift tests remember of each camera and product; see scorer/drift.py
    "drift_states",
    metadata,
    sa.Column("camera", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("model_id", sa.BigInteger, sa.ForeignKey("models.id")),  # whose calibration it is compared with
    sa.Column("state", postgresql.JSONB, nullable=False),
    _time("cursor_at"),  # received_at and bus_offset of the camera's last verdict that was looked at;
    sa.Column("cursor_offset", sa.BigInteger, nullable=False),  # the same in all rows of a camera
    sa.Column("parts", sa.BigInteger, nullable=False),  # values that were tested
    sa.Column("wealth", sa.Double, nullable=False),  # decimal logarithm of what an initial 1 has become
    _time("alarmed_at", nullable=True),
    sa.Column("alert_id", sa.BigInteger),  # of the alarm; once it is acknowledged, the state begins anew
    _time("updated_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("camera", "product", "kind"),
    sa.CheckConstraint("kind IN ('score', 'quality')", name="drift_states_kind"),
)

drift_history = sa.Table(  # how the tests went, a row a minute; see infra/store/drift_history.py
    "drift_history",
    metadata,
    sa.Column("camera", sa.Text, nullable=False),
    _time("at"),  # beginning of the minute, of the bus's clock
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("model_id", sa.BigInteger, sa.ForeignKey("models.id")),
    sa.Column("parts", sa.BigInteger, nullable=False),  # these two: at its end
    sa.Column("wealth", sa.Double, nullable=False),
    sa.Column("highest", sa.Double, nullable=False),  # these three: within it
    sa.Column("began", sa.Boolean, nullable=False),
    sa.Column("alarmed", sa.Boolean, nullable=False),
    sa.PrimaryKeyConstraint("camera", "at", "product", "kind"),
    sa.CheckConstraint("kind IN ('score', 'quality')", name="drift_history_kind"),
    sa.CheckConstraint("at = date_bin('1 minute', at, '2000-01-01 00:00:00+00')", name="drift_history_minute"),
)

alert_actions = sa.Table(  # appended to, never changed
    "alert_actions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("alert_id", sa.BigInteger, sa.ForeignKey("alerts.id"), nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _time("done_at", default="clock_timestamp()"),
    sa.Index("alert_actions_alert", "alert_id"),
)

alert_notices = sa.Table(  # appended to: which alerts were told to which people; see infra/store/notices.py
    "alert_notices",
    metadata,
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("alert_id", sa.BigInteger, sa.ForeignKey("alerts.id"), nullable=False),
    _time("told_at", default="clock_timestamp()"),
    sa.PrimaryKeyConstraint("target", "alert_id"),
)

notice_cursors = sa.Table(  # up to which alert a target has nothing left to be told
    "notice_cursors",
    metadata,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("after_id", sa.BigInteger, nullable=False, server_default="0"),
)

role_limits = sa.Table(  # appended to, never changed: the newest one of a person counts
    "role_limits",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),  # the most that this person is, whatever the sign-in says
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _time("limited_at", default="clock_timestamp()"),
    sa.CheckConstraint("role IN ('none', 'viewer', 'inspector', 'engineer', 'admin')", name="role_limits_role"),
    sa.Index("role_limits_newest", "person", sa.text("id DESC")),
)

audit_log = sa.Table(  # append-only, by triggers: who did what and why; see infra/store/audit.py
    "audit_log",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _time("at", default="clock_timestamp()"),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("detail", postgresql.JSONB, nullable=False, server_default="{}"),
    sa.Column("previous", sa.Text, nullable=False),  # hash of the row before; 64 zeros in the first one
    sa.Column("hash", sa.Text, nullable=False),
    sa.UniqueConstraint("previous", name="audit_log_one_chain"),
    sa.CheckConstraint("jsonb_typeof(detail) = 'object'", name="audit_log_detail"),
    sa.Index("audit_log_subject", "subject", "id"),
)


def ensure_day_partitions(connection: sa.Connection, first: date, days: int) -> None:
    """Create the partitions of `days` days from `first` (UTC) where they are missing; safe to run at the same time."""
    connection.execute(sa.text("SELECT ensure_day_partitions(:first, :days)"), {"first": first, "days": days})
