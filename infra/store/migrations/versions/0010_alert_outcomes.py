"""What an alert turned out to be, who may be what on the dashboard, and lists of alerts by camera and by kind."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_CHANGES = """
ALTER TABLE alerts DROP CONSTRAINT alerts_state;
ALTER TABLE alerts ADD CONSTRAINT alerts_state CHECK (state IN ('open', 'acknowledged', 'resolved'));
ALTER TABLE alerts ADD COLUMN outcome text, ADD COLUMN resolved_at timestamptz;
ALTER TABLE alerts ADD CONSTRAINT alerts_outcome
    CHECK (outcome IS NULL OR (outcome IN ('false_alarm', 'real_defect') AND state = 'resolved'));
ALTER TABLE alerts ADD CONSTRAINT alerts_resolved CHECK ((state = 'resolved') = (resolved_at IS NOT NULL));
CREATE INDEX alerts_camera ON alerts (camera, opened_at DESC, id DESC);
CREATE INDEX alerts_kind ON alerts (kind, opened_at DESC, id DESC);
CREATE INDEX alerts_product ON alerts (product, opened_at DESC, id DESC);
CREATE INDEX alerts_false_alarms ON alerts (opened_at) WHERE outcome = 'false_alarm';

CREATE TABLE role_limits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person text NOT NULL,
    role text NOT NULL,
    who text NOT NULL,
    reason text NOT NULL,
    limited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT role_limits_role CHECK (role IN ('none', 'viewer', 'inspector', 'engineer', 'admin'))
);
CREATE INDEX role_limits_newest ON role_limits (person, id DESC);
ALTER TABLE role_limits OWNER TO differline_migrator;

GRANT UPDATE (outcome, resolved_at) ON alerts TO differline_dashboard;
GRANT SELECT, INSERT (person, role, who, reason) ON role_limits TO differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
