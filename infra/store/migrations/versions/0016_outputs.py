"""Each output has a place of its own in the outbox, and what its peer refused is on record.

No place is made here: the first relay of this version makes them, and begins at what still waits in the outbox.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_CURSORS = """
CREATE TABLE output_cursors (
    sink text NOT NULL,
    kind text NOT NULL,
    txid bigint NOT NULL,
    id bigint NOT NULL,
    refused_in_a_row integer NOT NULL DEFAULT 0,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    moved_at timestamptz,
    turn_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sink, kind),
    CONSTRAINT output_cursors_kind CHECK (kind IN ('verdict', 'dead_letter'))
);
ALTER TABLE output_cursors OWNER TO differline_migrator;

-- Dead letters are rare: an output that has passed them all does not look for the next one among the verdicts.
CREATE INDEX outbox_dead_letters ON outbox (txid, id) WHERE kind = 'dead_letter';
"""

_REFUSALS = """
CREATE TABLE output_refusals (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink text NOT NULL,
    txid bigint NOT NULL,
    id bigint NOT NULL,
    kind text NOT NULL,
    received_at timestamptz NOT NULL,
    camera text,
    frame_id text NOT NULL,
    reason text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    again_at timestamptz,
    delivered_at timestamptz,
    CONSTRAINT output_refusals_row UNIQUE (sink, txid, id),
    CONSTRAINT output_refusals_kind CHECK (kind IN ('verdict', 'dead_letter'))
);
CREATE INDEX output_refusals_newest ON output_refusals (sink, refused_at);
CREATE INDEX output_refusals_again ON output_refusals (sink, number) WHERE again_at IS NOT NULL AND delivered_at IS NULL;
ALTER TABLE output_refusals OWNER TO differline_migrator;
"""

_RIGHTS = """
GRANT SELECT, DELETE, INSERT (sink, kind, txid, id), UPDATE (txid, id, refused_in_a_row, moved_at, turn_at)
    ON output_cursors TO differline_relay;
GRANT SELECT, INSERT (sink, txid, id, kind, received_at, camera, frame_id, reason),
    UPDATE (reason, refused_at, again_at, delivered_at) ON output_refusals TO differline_relay;
GRANT SELECT ON output_cursors, output_refusals TO differline_dashboard;
-- Whether the verdicts of a camera that sends frames are in time.
GRANT SELECT ON camera_runs TO differline_relay;
-- Who forgot an output, or sent a refused message again.
GRANT SELECT (id), INSERT (who, action, subject, reason, detail) ON audit_log TO differline_relay;
"""


def upgrade() -> None:
    op.execute(_CURSORS)
    op.execute(_REFUSALS)
    op.execute(_RIGHTS)
