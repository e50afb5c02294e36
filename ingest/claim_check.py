"""Pictures that are too large for the bus go to the archive, and the message only says where."""

from dataclasses import dataclass, replace

from infra.archive import Archive
from infra.frames import FrameMessage


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """When a picture does not travel on the bus.

    Attributes:
        archive: Where it goes instead.
        above_bytes: Larger ones do.
    """

    archive: Archive
    above_bytes: int

    def check_in(self, frame: FrameMessage) -> FrameMessage:
        """Return the message that travels: the frame itself, or one without body that says where the picture is.

        The picture is in the archive before anybody can ask for it. Checking in the same frame again is safe.

        Raises:
            ArchiveAwayError: The archive does not take it now.
        """
        if len(frame.body) <= self.above_bytes:
            return frame
        return replace(frame, body=b"", dataref=self.archive.write(frame.body))
