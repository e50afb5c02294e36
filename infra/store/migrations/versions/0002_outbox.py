"""The outbox, the original message of a dead letter, and attempts at frames that may kill the process."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CHANGES = """
-- What the relay still has to publish. Rows come with the results' transaction and go once the broker has acknowledged them.
-- A row with a smaller id may become visible later than one with a larger id; txid is what tells when all are there.
CREATE TABLE outbox (
    txid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CONSTRAINT outbox_kind CHECK (kind IN ('verdict', 'dead_letter')),
    received_at timestamptz NOT NULL,
    frame_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (txid, id)
);

ALTER TABLE dead_letters ADD COLUMN original bytea NOT NULL DEFAULT '';
CREATE INDEX dead_letters_committed ON dead_letters (committed_at);

CREATE TABLE attempts (
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    attempts integer NOT NULL,
    worker text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition)
);
"""


def upgrade() -> None:
    op.execute(_CHANGES)
