"""What the drift tests look at and remember: picture quality beside each verdict, a state by camera and product."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CHANGES = """
ALTER TABLE verdicts ADD COLUMN focus real, ADD COLUMN brightness real, ADD COLUMN contrast real;

CREATE TABLE drift_states (
    camera text NOT NULL,
    product text NOT NULL,
    kind text NOT NULL,
    model_id bigint REFERENCES models,
    state jsonb NOT NULL,
    cursor_at timestamptz NOT NULL,
    cursor_offset bigint NOT NULL,
    parts bigint NOT NULL,
    wealth double precision NOT NULL,
    alarmed_at timestamptz,
    alert_id bigint,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (camera, product, kind),
    CONSTRAINT drift_states_kind CHECK (kind IN ('score', 'quality'))
);
ALTER TABLE drift_states OWNER TO differline_migrator;

GRANT SELECT, INSERT ON drift_states TO differline_scorer;
GRANT UPDATE (model_id, state, cursor_at, cursor_offset, parts, wealth, alarmed_at, alert_id, updated_at)
    ON drift_states TO differline_scorer;
GRANT INSERT (focus, brightness, contrast) ON verdicts TO differline_scorer;
GRANT SELECT (product, part_id, bus_offset, state, model_id, score, focus, brightness, contrast)
    ON verdicts TO differline_scorer;
GRANT UPDATE (detail) ON alerts TO differline_scorer;
GRANT SELECT ON drift_states TO differline_trainer, differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
