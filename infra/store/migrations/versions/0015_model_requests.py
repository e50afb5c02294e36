"""What people at the dashboard ask the trainer to do with models; what other models would change, by index; scores to draw.

The dashboard asks and may take back what nobody has taken; the trainer does it and says what came of it. No service can change
what was asked.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_REQUESTS = """
CREATE TABLE model_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text NOT NULL,
    what text NOT NULL,
    version integer,
    force boolean NOT NULL DEFAULT false,
    who text NOT NULL,
    reason text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancelled_at timestamptz,
    cancelled_by text,
    taken_at timestamptz,
    worker text,
    attempts integer NOT NULL DEFAULT 0,
    beat_at timestamptz,
    stage text,
    progress double precision,
    done_at timestamptz,
    outcome text,
    message text,
    CONSTRAINT model_requests_what CHECK (what IN ('refit', 'shadow', 'promote', 'rollback')),
    CONSTRAINT model_requests_version CHECK (
        CASE what WHEN 'refit' THEN version IS NULL WHEN 'shadow' THEN true ELSE version IS NOT NULL END
    ),
    CONSTRAINT model_requests_force CHECK (what = 'promote' OR NOT force),
    CONSTRAINT model_requests_cancelled CHECK (
        (cancelled_at IS NULL) = (cancelled_by IS NULL) AND (cancelled_at IS NULL OR (taken_at IS NULL AND outcome IS NULL))
    ),
    CONSTRAINT model_requests_taken CHECK (
        (taken_at IS NULL) = (worker IS NULL) AND (taken_at IS NULL) = (beat_at IS NULL)
    ),
    CONSTRAINT model_requests_progress CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT model_requests_outcome CHECK (
        CASE WHEN outcome IS NULL THEN done_at IS NULL AND message IS NULL
        ELSE outcome IN ('done', 'refused', 'failed') AND done_at IS NOT NULL AND message IS NOT NULL END
    )
);
CREATE INDEX model_requests_newest ON model_requests (product, id DESC);
-- What is still to be done. One of a kind for each product: a second click asks for nothing more.
CREATE UNIQUE INDEX model_requests_open ON model_requests (product, what) WHERE outcome IS NULL AND cancelled_at IS NULL;
ALTER TABLE model_requests OWNER TO differline_migrator;

GRANT SELECT ON model_requests TO differline_dashboard, differline_trainer;
GRANT INSERT (product, what, version, force, who, reason), UPDATE (cancelled_at, cancelled_by)
    ON model_requests TO differline_dashboard;
GRANT UPDATE (taken_at, worker, attempts, beat_at, stage, progress, done_at, outcome, message)
    ON model_requests TO differline_trainer;
"""

_CHANGED = """
ALTER TABLE second_verdicts ADD COLUMN state_before text;
UPDATE second_verdicts s SET state_before = v.state FROM verdicts v
    WHERE v.received_at = s.received_at AND v.camera = s.camera AND v.frame_id = s.frame_id;
CREATE INDEX second_verdicts_changed ON second_verdicts (model_id, received_at DESC, camera, frame_id)
    WHERE state_before <> state;

-- The verdict on record, as it is when another model's is put beside it: it never changes after.
CREATE FUNCTION second_verdicts_state_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.state_before := (SELECT state FROM verdicts WHERE received_at = NEW.received_at AND camera = NEW.camera
                         AND frame_id = NEW.frame_id);
    RETURN NEW;
END $$;
CREATE TRIGGER second_verdicts_state_before BEFORE INSERT ON second_verdicts
    FOR EACH ROW EXECUTE FUNCTION second_verdicts_state_before();
-- It reads the verdicts with its owner's rights, and does not look where its caller can write.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION second_verdicts_state_before() SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
END $$;
ALTER FUNCTION second_verdicts_state_before() OWNER TO differline_migrator;
"""

_SCORES = """
ALTER TABLE models ADD COLUMN score_histogram jsonb;
GRANT INSERT (score_histogram) ON models TO differline_trainer;
"""


def upgrade() -> None:
    op.execute(_REQUESTS)
    op.execute(_CHANGED)
    op.execute(_SCORES)
