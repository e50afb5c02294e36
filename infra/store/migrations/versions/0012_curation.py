"""What stands of each picture that may be decided about, kept beside verdicts and decisions: a page of open frames, and counts.

Without it the open frames of a product are all of its kept frames less all of its decided pictures, whatever is shown of them.
Triggers keep it, so every program writes as before; all that it says can be made again from `verdicts` and `decisions`.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_DAY = "to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
_RUN = f"coalesce(job_id, camera || '/' || coalesce(run, '') || '/' || {_DAY})"

# In the order of the key, so that two scorers with the same pictures wait for each other and never both.
_FRAMES = f"""
INSERT INTO curation (product, sha256, received_at, camera, frame_id, part_id, run, state, score, p_value, threshold)
    SELECT DISTINCT ON (product, sha256) product, sha256, received_at, camera, frame_id, part_id, {_RUN}, state, score, p_value,
           threshold
    FROM {{source}} WHERE archive_ref IS NOT NULL ORDER BY product, sha256, received_at DESC
    ON CONFLICT (product, sha256) DO UPDATE SET
        received_at = excluded.received_at, camera = excluded.camera, frame_id = excluded.frame_id, part_id = excluded.part_id,
        run = excluded.run, state = excluded.state, score = excluded.score, p_value = excluded.p_value,
        threshold = excluded.threshold
        WHERE curation.received_at IS NULL OR curation.received_at <= excluded.received_at
"""  # noqa: S608 - our own words

_DECISIONS = """
INSERT INTO curation (product, sha256, decision, challenge, decision_id)
    SELECT DISTINCT ON (product, sha256) product, sha256, decision, challenge, id
    FROM {source} ORDER BY product, sha256, id DESC
    ON CONFLICT (product, sha256) DO UPDATE SET
        decision = excluded.decision, challenge = excluded.challenge, decision_id = excluded.decision_id
        WHERE curation.decision_id IS NULL OR curation.decision_id < excluded.decision_id
"""

_TABLE = """
CREATE TABLE curation (
    product text NOT NULL,
    sha256 text NOT NULL,
    decision text NOT NULL DEFAULT 'open',
    challenge boolean NOT NULL DEFAULT false,
    decision_id bigint,
    received_at timestamptz,
    camera text,
    frame_id text,
    part_id text,
    run text,
    state text,
    score double precision,
    p_value double precision,
    threshold double precision,
    standing double precision GENERATED ALWAYS AS (
        CASE WHEN received_at IS NULL THEN NULL
             WHEN state = 'GOOD' AND p_value <> 'NaN' THEN p_value
             WHEN state = 'DEFECT' AND p_value <> 'NaN' THEN p_value - 2
             ELSE -3 END) STORED,
    PRIMARY KEY (product, sha256),
    CONSTRAINT curation_decision CHECK (decision IN ('released', 'rejected', 'open'))
);
CREATE INDEX curation_open ON curation (product, standing, sha256) WHERE decision = 'open';
CREATE INDEX curation_decided ON curation (product, decision, sha256);
"""

_TRIGGERS = f"""
CREATE FUNCTION curation_of_verdicts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_FRAMES.format(source="added")};
    RETURN NULL;
END $$;
CREATE FUNCTION curation_of_decisions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_DECISIONS.format(source="added")};
    RETURN NULL;
END $$;
CREATE TRIGGER curation_of_verdicts AFTER INSERT ON verdicts REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION curation_of_verdicts();
CREATE TRIGGER curation_of_decisions AFTER INSERT ON decisions REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION curation_of_decisions();

-- They write with their owner's rights, and do not look where their caller can write.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION curation_of_verdicts() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION curation_of_decisions() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $$;
ALTER TABLE curation OWNER TO differline_migrator;
ALTER FUNCTION curation_of_verdicts() OWNER TO differline_migrator;
ALTER FUNCTION curation_of_decisions() OWNER TO differline_migrator;
GRANT SELECT ON curation TO differline_trainer, differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(_TRIGGERS)  # nobody writes from here on to the end of this transaction, so that nothing is left out
    op.execute(_FRAMES.format(source="verdicts"))
    op.execute(_DECISIONS.format(source="decisions"))
