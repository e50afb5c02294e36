"""The first tables: verdicts, heatmaps, dead letters, models, positions, the ledger and alerts."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE models (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CONSTRAINT models_state CHECK (state IN ('candidate', 'in_force', 'retired')),
    folder text NOT NULL,
    flow_sha256 text NOT NULL,
    manifest_sha256 text NOT NULL,
    preset text NOT NULL,
    threshold double precision NOT NULL,
    false_alarm_rate double precision NOT NULL,
    attainable_rate double precision NOT NULL,
    views integer NOT NULL,
    heat_scale double precision NOT NULL,
    training_frames integer NOT NULL,
    calibration_frames integer NOT NULL,
    registered_by text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT models_product_version UNIQUE (product, version)
);
CREATE UNIQUE INDEX models_in_force ON models (product) WHERE state = 'in_force';

CREATE TABLE verdicts (
    received_at timestamptz NOT NULL,
    frame_id text NOT NULL,
    result_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    bus_offset bigint NOT NULL,
    camera text NOT NULL,
    product text NOT NULL,
    part_id text,
    job_id text,
    run text,
    sequence bigint,
    sha256 text NOT NULL,
    simulated text,
    captured_at timestamptz NOT NULL,
    scored_at timestamptz,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL CONSTRAINT verdicts_state CHECK (state IN ('GOOD', 'DEFECT', 'NO_VERDICT')),
    reason text,
    model_id bigint REFERENCES models (id),
    score double precision,
    p_value double precision,
    threshold double precision,
    views integer,
    archive_ref text,
    decode_ms real,
    score_ms real,
    PRIMARY KEY (received_at, frame_id),
    CONSTRAINT verdicts_reason CHECK ((state = 'NO_VERDICT') = (reason IS NOT NULL)),
    -- NaN sorts above Infinity in PostgreSQL, so this refuses it too; a comparison with NULL would let it pass
    CONSTRAINT verdicts_score_is_finite CHECK (
        state = 'NO_VERDICT'
        OR (score IS NOT NULL AND score > '-Infinity' AND score < 'Infinity' AND model_id IS NOT NULL)
    )
) PARTITION BY RANGE (received_at);
CREATE INDEX verdicts_camera ON verdicts (camera, received_at DESC);
CREATE INDEX verdicts_frame ON verdicts (frame_id);

CREATE TABLE heatmaps (
    received_at timestamptz NOT NULL,
    frame_id text NOT NULL,
    png bytea NOT NULL,
    PRIMARY KEY (received_at, frame_id)
) PARTITION BY RANGE (received_at);

CREATE TABLE dead_letters (
    received_at timestamptz NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    bus_offset bigint NOT NULL,
    frame_id text NOT NULL,
    camera text NOT NULL,
    run text,
    sequence bigint,
    reason text NOT NULL,
    detail text NOT NULL,
    headers jsonb NOT NULL,
    body_ref text,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (received_at, topic, partition, bus_offset)
) PARTITION BY RANGE (received_at);
CREATE INDEX dead_letters_frame ON dead_letters (frame_id);

CREATE TABLE positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint,
    epoch bigint NOT NULL,
    worker text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition)
);

CREATE TABLE camera_runs (
    camera text NOT NULL,
    run text NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    last_sequence bigint NOT NULL DEFAULT -1,
    accounted bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (camera, run)
);

CREATE TABLE ledger_counts (
    camera text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    frames bigint NOT NULL,
    PRIMARY KEY (camera, state, reason)
);

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    camera text NOT NULL,
    product text NOT NULL,
    received_at timestamptz NOT NULL,
    frame_id text NOT NULL,
    state text NOT NULL DEFAULT 'open' CONSTRAINT alerts_state CHECK (state IN ('open', 'acknowledged')),
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX alerts_newest ON alerts (opened_at DESC, id DESC);
CREATE INDEX alerts_open ON alerts (opened_at DESC, id DESC) WHERE state = 'open';

CREATE TABLE alert_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alerts (id),
    action text NOT NULL,
    who text NOT NULL,
    reason text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX alert_actions_alert ON alert_actions (alert_id);
"""

# A frame whose time lies outside the days that were prepared goes to the default partition instead of being refused.
_PARTITIONS = """
CREATE TABLE verdicts_other PARTITION OF verdicts DEFAULT;
CREATE TABLE heatmaps_other PARTITION OF heatmaps DEFAULT;
CREATE TABLE dead_letters_other PARTITION OF dead_letters DEFAULT;

CREATE FUNCTION ensure_day_partitions(first date, days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    day date;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ensure_day_partitions'));
    FOREACH parent IN ARRAY ARRAY['verdicts', 'heatmaps', 'dead_letters'] LOOP
        FOR day IN SELECT first + n FROM generate_series(0, days - 1) AS n LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            BEGIN
                EXECUTE format(
                    'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
                );
            EXCEPTION WHEN check_violation THEN
                NULL;  -- the default partition has rows of that day already; they stay there
            END;
        END LOOP;
    END LOOP;
END $$;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_PARTITIONS)
