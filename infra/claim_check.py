"""Pictures that are too large for the bus: the message only says where in the archive they are."""

from collections.abc import Callable

from infra.archive import Archive, PictureAlteredError, is_reference
from infra.errors import BadFrameError, DeadLetterReason

Fetch = Callable[[str], bytes]
"""Returns the picture of a `dataref`; raises BadFrameError where there is none."""


def fetch_from(archive: Archive) -> Fetch:
    """Return what fetches pictures from the archive, and from nowhere else."""

    def fetch(dataref: str) -> bytes:
        """Return the picture.

        Raises:
            BadFrameError: bad_header, dataref_missing or hash_mismatch.
            ArchiveAwayError: The archive does not answer.
        """
        if not is_reference(dataref):  # never a path or a URL from outside
            raise BadFrameError(DeadLetterReason.BAD_HEADER, f"ce_dataref {dataref[:80]!r} is no archive reference")
        try:
            return archive.read(dataref)
        except PictureAlteredError as error:
            raise BadFrameError(DeadLetterReason.HASH_MISMATCH, str(error)) from error
        except FileNotFoundError as error:
            archive.check_present()
            raise BadFrameError(DeadLetterReason.DATAREF_MISSING, f"the archive has no {dataref}") from error

    return fetch


def fetch_nothing(dataref: str) -> bytes:
    """Refuse every claim check, where there is no archive.

    Raises:
        BadFrameError: Always.
    """
    raise BadFrameError(DeadLetterReason.DATAREF_MISSING, f"there is no archive to fetch {dataref[:80]!r} from")
