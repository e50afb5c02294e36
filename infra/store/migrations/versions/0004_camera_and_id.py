"""A frame is known by camera and id together: a producer need not know which ids another camera's producer uses.

The keys of verdicts and heatmaps are built anew, and whoever writes waits meanwhile. Scorers of the release before go on
afterwards: what they write has no camera in `outbox` (NULL) and `heatmaps` (''), and readers know both.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CHANGES = """
-- In the order in which a scorer touches them, so that neither waits for the other.
LOCK TABLE verdicts, dead_letters, heatmaps, outbox IN ACCESS EXCLUSIVE MODE;

ALTER TABLE heatmaps ADD COLUMN camera text NOT NULL DEFAULT '';
UPDATE heatmaps SET camera = verdicts.camera
    FROM verdicts WHERE verdicts.received_at = heatmaps.received_at AND verdicts.frame_id = heatmaps.frame_id;
ALTER TABLE heatmaps DROP CONSTRAINT heatmaps_pkey;
ALTER TABLE heatmaps ADD CONSTRAINT heatmaps_pkey PRIMARY KEY (received_at, camera, frame_id);

ALTER TABLE verdicts DROP CONSTRAINT verdicts_pkey;
ALTER TABLE verdicts ADD CONSTRAINT verdicts_pkey PRIMARY KEY (received_at, camera, frame_id);

-- The id first: ids that are made one after the other lie beside each other, whichever camera they are of.
DROP INDEX verdicts_frame;
CREATE INDEX verdicts_frame ON verdicts (frame_id, camera);
DROP INDEX dead_letters_frame;
CREATE INDEX dead_letters_frame ON dead_letters (frame_id, camera);

ALTER TABLE outbox ADD COLUMN camera text;

GRANT SELECT (camera) ON verdicts, dead_letters TO differline_scorer;
GRANT INSERT (camera) ON outbox TO differline_scorer;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
