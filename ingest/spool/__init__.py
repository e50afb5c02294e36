"""Frames of one camera on disk until the bus has them: accepted means written, and sent in the order of their capture."""

from ingest.spool.disk import Spool, SpooledFrame
from ingest.spool.sender import SpoolSender

__all__ = ["Spool", "SpoolSender", "SpooledFrame"]
