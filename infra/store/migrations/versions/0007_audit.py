"""Who did what and why: rows that nobody can change or delete, each with the hash of the one before.

The database itself writes number, time and hashes, so a service that may add a row cannot choose them; it needs no rights on
those columns. What the hash is over stands in `infra.store.audit`, which computes it again.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}',
    previous text NOT NULL CONSTRAINT audit_log_one_chain UNIQUE,
    hash text NOT NULL,
    CONSTRAINT audit_log_detail CHECK (jsonb_typeof(detail) = 'object')
);
CREATE INDEX audit_log_subject ON audit_log (subject, id);

-- Of one frame, for `differline trace`.
CREATE INDEX alerts_frame ON alerts (frame_id, camera);

CREATE FUNCTION audit_log_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head record;
BEGIN
    -- Until the transaction ends nobody else adds a row: each is chained to one that is there for good.
    PERFORM pg_advisory_xact_lock(hashtext('audit_log'));
    SELECT id, hash INTO head FROM audit_log ORDER BY id DESC LIMIT 1;
    IF head.id >= NEW.id THEN
        RAISE EXCEPTION 'row % of audit_log drew its number before row % was committed: take the lock first', NEW.id, head.id;
    END IF;
    NEW.at := clock_timestamp();
    NEW.previous := coalesce(head.hash, repeat('0', 64));
    SELECT encode(sha256(convert_to(string_agg(octet_length(convert_to(field, 'UTF8')) || ':' || field || ',', '' ORDER BY n),
                                    'UTF8')), 'hex')
        INTO NEW.hash
        FROM unnest(ARRAY[
            'differline.audit.v1', NEW.id::text, to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            NEW.who, NEW.action, NEW.subject, NEW.reason, NEW.detail::text, NEW.previous
        ]) WITH ORDINALITY AS f (field, n);
    RETURN NEW;
END $$;

CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_chain();
CREATE TRIGGER audit_log_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();
-- Also where a connection says that it only replays what happened elsewhere.
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_refuse;

-- It reads the head with its owner's rights, and does not look where its caller can write.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_log_chain() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $$;
ALTER TABLE audit_log OWNER TO differline_migrator;
ALTER FUNCTION audit_log_chain() OWNER TO differline_migrator;
ALTER FUNCTION audit_log_refuse() OWNER TO differline_migrator;

-- The dashboard acknowledges, the trainer puts models in force, `differline positions --reset` is the scorer's user.
GRANT SELECT (id), INSERT (who, action, subject, reason, detail)
    ON audit_log TO differline_dashboard, differline_trainer, differline_scorer;
GRANT SELECT ON audit_log TO differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
