"""Decisions about frames, who put which model in force, and what other models say: all of it added to and never changed."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE decisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text NOT NULL,
    sha256 text NOT NULL,
    decision text NOT NULL,
    camera text,
    frame_id text,
    run text,
    challenge boolean NOT NULL DEFAULT false,
    who text NOT NULL,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT decisions_decision CHECK (decision IN ('released', 'rejected', 'open')),
    CONSTRAINT decisions_challenge CHECK (decision = 'rejected' OR NOT challenge)
);
CREATE INDEX decisions_newest ON decisions (product, sha256, id DESC);

CREATE TABLE promotions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text NOT NULL,
    model_id bigint NOT NULL REFERENCES models (id),
    replaced_id bigint REFERENCES models (id),
    kind text NOT NULL,
    who text NOT NULL,
    reason text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT promotions_kind CHECK (kind IN ('first', 'trained', 'promoted', 'forced', 'rolled_back'))
);
CREATE INDEX promotions_newest ON promotions (product, id DESC);

CREATE TABLE second_verdicts (
    model_id bigint NOT NULL REFERENCES models (id),
    received_at timestamptz NOT NULL,
    camera text NOT NULL,
    frame_id text NOT NULL,
    source text NOT NULL,
    product text NOT NULL,
    state text NOT NULL,
    score double precision NOT NULL,
    p_value double precision NOT NULL,
    threshold double precision NOT NULL,
    views integer NOT NULL,
    scored_at timestamptz NOT NULL,
    PRIMARY KEY (model_id, received_at, camera, frame_id),
    CONSTRAINT second_verdicts_source CHECK (source IN ('shadow', 'replay')),
    CONSTRAINT second_verdicts_state CHECK (state IN ('GOOD', 'DEFECT'))
);

-- Of one product, the pictures that are kept: for curation and replay.
CREATE INDEX verdicts_kept ON verdicts (product, received_at DESC) WHERE archive_ref IS NOT NULL;

ALTER TABLE models
    ADD COLUMN shadow boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT models_shadow CHECK (state = 'candidate' OR NOT shadow),
    ADD COLUMN challenge_parts integer,
    ADD COLUMN challenge_found integer,
    ADD COLUMN challenge_found_before integer,
    ADD COLUMN report text;
CREATE UNIQUE INDEX models_in_shadow ON models (product) WHERE shadow;

-- What was put in force before there was a record: the newest of each product is where its record begins.
INSERT INTO promotions (product, model_id, kind, who, reason, done_at)
    SELECT product, id, 'first', registered_by, '', registered_at FROM models WHERE state = 'in_force';
"""

_RIGHTS = """
ALTER TABLE decisions OWNER TO differline_migrator;
ALTER TABLE promotions OWNER TO differline_migrator;
ALTER TABLE second_verdicts OWNER TO differline_migrator;
GRANT SELECT ON decisions, promotions, second_verdicts TO differline_trainer, differline_dashboard;
GRANT SELECT, INSERT ON second_verdicts TO differline_scorer, differline_trainer;
GRANT UPDATE (shadow) ON models TO differline_trainer;
GRANT SELECT (kind, product, opened_at) ON alerts TO differline_trainer;
GRANT INSERT (product, sha256, decision, camera, frame_id, run, challenge, who, reason) ON decisions
    TO differline_trainer, differline_dashboard;
GRANT INSERT (product, model_id, replaced_id, kind, who, reason) ON promotions TO differline_trainer;
GRANT INSERT (challenge_parts, challenge_found, challenge_found_before, report) ON models TO differline_trainer;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_RIGHTS)
