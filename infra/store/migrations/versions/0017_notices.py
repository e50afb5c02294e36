"""Which alerts were told to people, by mail, chat or SMS: a row for each target and alert, and up to where a target is done."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_NOTICES = """
CREATE TABLE alert_notices (
    target text NOT NULL,
    alert_id bigint NOT NULL REFERENCES alerts (id),
    told_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (target, alert_id)
);
CREATE TABLE notice_cursors (
    target text PRIMARY KEY,
    after_id bigint NOT NULL DEFAULT 0
);
ALTER TABLE alert_notices OWNER TO differline_migrator;
ALTER TABLE notice_cursors OWNER TO differline_migrator;

-- The relay's role tells people as well; it can take nothing back.
GRANT SELECT ON alerts, notice_cursors, alert_notices TO differline_relay;
GRANT INSERT (target, alert_id) ON alert_notices TO differline_relay;
GRANT INSERT (target, after_id), UPDATE (after_id) ON notice_cursors TO differline_relay;
GRANT SELECT ON alert_notices, notice_cursors TO differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_NOTICES)
