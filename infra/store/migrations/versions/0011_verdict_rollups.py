"""Verdicts added up by camera, product, model and ten minutes, for pages that show days and months.

A trigger marks what an insert touches, in the same transaction, whoever inserts: a scorer of the release before knows nothing
of rollups. What is marked is counted anew from the verdicts by the scorers; see infra/store/rollups.py.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE rollup_marks (
    camera text NOT NULL,
    at timestamptz NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rollup_marks_camera ON rollup_marks (camera, at);

CREATE TABLE verdict_rollups (
    camera text NOT NULL,
    at timestamptz NOT NULL,
    product text NOT NULL,
    model_id bigint NOT NULL,
    frames bigint NOT NULL,
    defects bigint NOT NULL,
    no_verdicts bigint NOT NULL,
    lowest double precision,
    q05 double precision,
    q25 double precision,
    median double precision,
    q75 double precision,
    q95 double precision,
    highest double precision,
    threshold double precision,
    p_values integer[] NOT NULL,
    focus double precision,
    brightness double precision,
    contrast double precision,
    rolled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (camera, at, product, model_id),
    CONSTRAINT verdict_rollups_p_values CHECK (cardinality(p_values) = 50)
);
CREATE INDEX verdict_rollups_at ON verdict_rollups (at);
ALTER TABLE rollup_marks OWNER TO differline_migrator;
ALTER TABLE verdict_rollups OWNER TO differline_migrator;
"""

_MARKING = """
CREATE FUNCTION mark_rollups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rollup_marks (camera, at)
        SELECT DISTINCT camera, date_bin('10 minutes', received_at, '2000-01-01T00:00:00Z') FROM inserted;
    RETURN NULL;
END $$;

-- It marks with its owner's rights: who adds a verdict needs none for it, and cannot leave the mark out.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION mark_rollups() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $$;
ALTER FUNCTION mark_rollups() OWNER TO differline_migrator;

CREATE TRIGGER verdicts_mark_rollups AFTER INSERT ON verdicts
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION mark_rollups();

-- From here on nobody else adds a verdict before this is committed, so each is either marked here or by the trigger.
INSERT INTO rollup_marks (camera, at)
    SELECT DISTINCT camera, date_bin('10 minutes', received_at, '2000-01-01T00:00:00Z') FROM verdicts;
"""

_RIGHTS = """
GRANT SELECT, DELETE ON rollup_marks TO differline_scorer;
GRANT SELECT (p_value, threshold) ON verdicts TO differline_scorer;
GRANT SELECT, INSERT ON verdict_rollups TO differline_scorer;
GRANT UPDATE (frames, defects, no_verdicts, lowest, q05, q25, median, q75, q95, highest, threshold, p_values, focus, brightness,
              contrast, rolled_at)
    ON verdict_rollups TO differline_scorer;
GRANT SELECT ON rollup_marks, verdict_rollups TO differline_trainer, differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_MARKING)
    op.execute(_RIGHTS)
