"""A gap in the ledger raises an alert: how many frames of a run are missing, and how many of them were told."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CHANGES = """
-- Stored, and the same from batch to batch while nothing is missing: so the index on it costs a running camera nothing (its row
-- is still updated in place, HOT), and finds the few runs with a gap among all that ever were.
ALTER TABLE camera_runs
    ADD COLUMN missing bigint NOT NULL GENERATED ALWAYS AS (greatest(last_sequence + 1 - accounted, 0)) STORED,
    ADD COLUMN missing_alerted bigint NOT NULL DEFAULT 0;
CREATE INDEX camera_runs_gaps ON camera_runs (camera, run) WHERE missing > missing_alerted;

ALTER TABLE alerts ADD COLUMN run text, ADD COLUMN missing bigint;
CREATE INDEX alerts_open_gaps ON alerts (camera, run) WHERE kind = 'ledger_gap' AND state = 'open';

GRANT UPDATE (missing_alerted) ON camera_runs TO differline_scorer;
GRANT SELECT (camera, run), INSERT (run, missing) ON alerts TO differline_scorer;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
