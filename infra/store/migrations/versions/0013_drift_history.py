"""How the drift tests went, by the minute, for a chart; and where a model's calibration pictures lie.

No service can delete what was found: old minutes go through a function that has its owner's rights, takes few at a time, and
leaves the last 90 days alone whatever it is asked.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE drift_history (
    camera text NOT NULL,
    at timestamptz NOT NULL,
    product text NOT NULL,
    kind text NOT NULL,
    model_id bigint REFERENCES models,
    parts bigint NOT NULL,
    wealth double precision NOT NULL,
    highest double precision NOT NULL,
    began boolean NOT NULL,
    alarmed boolean NOT NULL,
    PRIMARY KEY (camera, at, product, kind),
    CONSTRAINT drift_history_kind CHECK (kind IN ('score', 'quality')),
    CONSTRAINT drift_history_minute CHECK (at = date_bin('1 minute', at, '2000-01-01 00:00:00+00'))
);
ALTER TABLE drift_history OWNER TO differline_migrator;

ALTER TABLE models ADD COLUMN calibration_quantiles double precision[], ADD COLUMN calibration_quality double precision[];

GRANT SELECT, INSERT ON drift_history TO differline_scorer;
GRANT UPDATE (model_id, parts, wealth, highest, began, alarmed) ON drift_history TO differline_scorer;
GRANT SELECT ON drift_history TO differline_dashboard;
GRANT INSERT (calibration_quantiles, calibration_quality) ON models TO differline_trainer;
"""

_PRUNE = """
DO $$
BEGIN
    EXECUTE format('
        CREATE FUNCTION prune_drift_history(of_camera text, before timestamptz, most integer) RETURNS bigint
        LANGUAGE sql SECURITY DEFINER SET search_path = %I, pg_temp AS $body$
            WITH old AS (
                SELECT ctid FROM drift_history
                WHERE camera = of_camera AND at < least(before, now() - interval ''90 days'')
                ORDER BY at
                LIMIT most
            ), gone AS (
                DELETE FROM drift_history WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1
            )
            SELECT count(*) FROM gone
        $body$', current_schema());
END $$;
ALTER FUNCTION prune_drift_history(text, timestamptz, integer) OWNER TO differline_migrator;
REVOKE ALL ON FUNCTION prune_drift_history(text, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prune_drift_history(text, timestamptz, integer) TO differline_scorer;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
    op.execute(_PRUNE)
