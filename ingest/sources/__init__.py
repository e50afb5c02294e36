"""Where pictures come from: one module a kind, each an iterable of `CapturedPicture`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CapturedPicture:
    """One picture as a source hands it to the gateway.

    Attributes:
        body: The encoded picture, or whatever the file held: ingest does not judge, the scorer's dead letters do.
        content_type: Media type of the body as the source believes it to be.
        captured_at: When it was taken (UTC).
        part_id: Serial number of the part; for a file its path within the folder, without suffix.
        job_id: Job or order, if known.
        name: What a person knows it by where it could not be sent, such as its file; None: its part id.
        simulated: Ground truth of a simulated picture: `good` or the kind of defect; None for a real one.
        product: What should be on it; None: what the camera's frames show.
    """

    body: bytes
    content_type: str
    captured_at: datetime
    part_id: str | None = None
    job_id: str | None = None
    name: str | None = None
    simulated: str | None = None
    product: str | None = None
