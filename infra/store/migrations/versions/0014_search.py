"""Verdicts are found by the part, and those that are not GOOD by the time; alerts that somebody has looked at, by their state.

The indexes of the verdicts are built at once, and whoever writes verdicts waits meanwhile.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEXES = """
CREATE INDEX verdicts_part ON verdicts (part_id, received_at DESC) WHERE part_id IS NOT NULL;
CREATE INDEX verdicts_not_good ON verdicts (received_at, camera, frame_id) WHERE state <> 'GOOD';
CREATE INDEX alerts_state ON alerts (state, opened_at DESC, id DESC) WHERE state <> 'open';
"""


def upgrade() -> None:
    op.execute(_INDEXES)
