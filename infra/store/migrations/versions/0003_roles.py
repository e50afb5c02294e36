"""Roles with the least rights that each service needs; nobody who runs the line can delete or change a result.

They are groups without login: `GRANT differline_scorer TO somebody` makes a user one. All tables belong to
differline_migrator. A later migration that adds a table, or a column that a service writes, grants it there.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Roles belong to the whole server: another database of it may have made them, even at this moment.
_ROLES = """
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['differline_ingest', 'differline_scorer', 'differline_relay', 'differline_trainer',
                                'differline_dashboard', 'differline_migrator'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), name);
    END LOOP;
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO differline_migrator', current_schema());
    -- Only a member may hand tables to a role; a superuser counts as one.
    IF NOT pg_has_role('differline_migrator', 'USAGE') THEN
        GRANT differline_migrator TO CURRENT_USER;
    END IF;
END $$;
"""

_OWNER = """
DO $$
DECLARE
    name text;
    part regclass;
BEGIN
    FOREACH name IN ARRAY ARRAY['models', 'verdicts', 'heatmaps', 'dead_letters', 'positions', 'attempts', 'outbox',
                                'camera_runs', 'ledger_counts', 'alerts', 'alert_actions', 'alembic_version'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO differline_migrator', name);
        FOR part IN SELECT relid FROM pg_partition_tree(name::regclass) WHERE parentrelid IS NOT NULL LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO differline_migrator', part);
        END LOOP;
    END LOOP;
    -- Scorers make the days ahead through this function, with its owner's rights; they need none of their own to make tables.
    EXECUTE format('ALTER FUNCTION ensure_day_partitions(date, integer) SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
    ALTER FUNCTION ensure_day_partitions(date, integer) OWNER TO differline_migrator;
    REVOKE ALL ON FUNCTION ensure_day_partitions(date, integer) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION ensure_day_partitions(date, integer) TO differline_scorer;
END $$;
"""

_RIGHTS = """
-- ingest: how many frames of a run were accepted.
GRANT SELECT (camera, run, accepted), INSERT (camera, run, accepted), UPDATE (accepted, updated_at)
    ON camera_runs TO differline_ingest;

-- scorer: results, which it can add and not change; positions and counts, which it moves on.
GRANT SELECT ON models, positions, attempts, ledger_counts, camera_runs TO differline_scorer;
GRANT SELECT (frame_id, received_at) ON verdicts TO differline_scorer;
GRANT SELECT (frame_id, received_at, committed_at) ON dead_letters TO differline_scorer;
GRANT SELECT (id, kind, state) ON alerts TO differline_scorer;
GRANT INSERT ON heatmaps, attempts, positions, ledger_counts TO differline_scorer;
GRANT INSERT (camera, run, last_sequence, accounted) ON camera_runs TO differline_scorer;
GRANT INSERT (kind, camera, product, received_at, frame_id) ON alerts TO differline_scorer;
GRANT INSERT (kind, received_at, frame_id) ON outbox TO differline_scorer;
GRANT UPDATE (next_offset, epoch, worker, updated_at) ON positions TO differline_scorer;
GRANT UPDATE (first_offset, last_offset, attempts, worker, started_at) ON attempts TO differline_scorer;
GRANT UPDATE (frames) ON ledger_counts TO differline_scorer;
GRANT UPDATE (last_sequence, accounted, updated_at) ON camera_runs TO differline_scorer;

-- relay: the one that takes rows out, of the outbox alone: what waits to be sent is no record of anything.
GRANT SELECT ON verdicts, dead_letters, models TO differline_relay;
GRANT SELECT, DELETE ON outbox TO differline_relay;

-- trainer: registers models; what is registered stays as it is, but for its state.
GRANT SELECT ON models, verdicts TO differline_trainer;
GRANT UPDATE (state) ON models TO differline_trainer;

-- dashboard, and `differline ledger`: reads, acknowledges, and puts on record who did.
GRANT SELECT ON models, verdicts, heatmaps, dead_letters, positions, attempts, outbox, camera_runs, ledger_counts, alerts,
    alert_actions TO differline_dashboard;
GRANT UPDATE (state) ON alerts TO differline_dashboard;
GRANT INSERT (alert_id, action, who, reason) ON alert_actions TO differline_dashboard;

-- Where the database's own clock, or its own number, is to be trusted, nobody writes it.
DO $$
DECLARE
    granted record;
    columns text;
BEGIN
    FOR granted IN SELECT * FROM (VALUES ('verdicts', 'committed_at', 'differline_scorer'),
                                         ('dead_letters', 'committed_at', 'differline_scorer'),
                                         ('models', 'registered_at', 'differline_trainer')) AS v (name, clock, role) LOOP
        SELECT string_agg(quote_ident(attname), ', ') INTO columns
        FROM pg_attribute
        WHERE attrelid = granted.name::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''
              AND attname <> granted.clock;
        EXECUTE format('GRANT INSERT (%s) ON %I TO %I', columns, granted.name, granted.role);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    op.execute(_ROLES)
    op.execute(_OWNER)
    op.execute(_RIGHTS)
