"""The whole error tree, on one page.

DifferlineError
├── SettingsError           a setting is unknown or out of range
├── EngineError             an embedded engine cannot start (another version's data, a taken port)
├── FleetError              one of several scorers on a machine dies again and again, or does not end in order
├── SourceError             a camera or file gives what cannot be sent, and waiting will not help
├── BadFrameError           one frame cannot be judged: dead letter, with its reason
├── AccessDeniedError       somebody at the dashboard may not do this, or nobody is signed in; nothing was done
├── TrainingSetError        the pictures to learn from are missing, too few or broken
├── PromotionError          a model is not put in force: something speaks against it; the one in force stays
├── RefitError              a refit cannot begin or end; nothing was registered
├── RequestLostError        another trainer took the request since: roll back, write nothing
├── CurationError           decisions about pictures cannot be put on record; none was
├── PretrainingError        pretraining cannot begin, go on or end; the last good checkpoint is kept
├── ExportError             a model cannot be handed to other programs; nothing was written
├── StaleEpochError         another worker took the partition: roll back, write nothing
├── PositionLostError       the bus ends before the stored position: stop, a person must look
├── PositionRefusedError    a kept position would jump over frames that wait: nothing was changed
├── OutputError             an output cannot be forgotten, or a message not be sent to it again; nothing was changed
├── DeadLetterLimitError    more dead letters in a minute than the limit: stop, the frames stay on the bus
└── TransientError          away for now: back off, pause, lose nothing
    ├── DatabaseAwayError
    ├── BusAwayError
    ├── ArchiveAwayError
    ├── PeerAwayError       the peer of an output: a webhook, a machine
    ├── CameraAwayError     a camera does not answer, or sends nothing
    │   └── CameraLoginError    it refuses user name and password: tried again slowly, since cameras lock a user out
    ├── BusFullError        the stream is at its bound: the producer waits
    └── SpoolFullError      the disk spool of a camera is at its bound, or its disk is full
"""

from enum import StrEnum


class DifferlineError(Exception):
    """Base of every error that differline raises on purpose; its text is one line for the person who reads it."""


class SettingsError(DifferlineError):
    """A setting is unknown, out of range, or contradicts another."""


class EngineError(DifferlineError):
    """An embedded engine or a server of ours cannot start."""


class FleetError(DifferlineError):
    """One of several scorers on a machine dies again and again, or does not end in order."""


class SourceError(DifferlineError):
    """A camera or file gives what cannot be sent, and waiting will not help: it is no video, or too small for the region."""


class DeadLetterReason(StrEnum):
    """Why a frame cannot be judged at all."""

    MISSING_CAMERA = "missing_camera"
    MISSING_PRODUCT = "missing_product"
    BAD_HEADER = "bad_header"
    UNSUPPORTED_TYPE = "unsupported_type"
    EMPTY_BODY = "empty_body"
    HASH_MISMATCH = "hash_mismatch"
    NOT_AN_IMAGE = "not_an_image"
    BROKEN_IMAGE = "broken_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    DATAREF_MISSING = "dataref_missing"
    KILLED_THE_PROCESS = "killed_the_process"


class BadFrameError(DifferlineError):
    """One frame cannot be judged; the line goes on.

    Attributes:
        reason: The stable reason that the ledger counts by.
    """

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class AccessDeniedError(DifferlineError):
    """Somebody at the dashboard may not do this, or nobody is signed in; nothing was done."""


class TrainingSetError(DifferlineError):
    """The pictures to learn from are missing, too few or broken."""


class PromotionError(DifferlineError):
    """A model is not put in force: what it must show does not hold, or there is none to go back to."""


class RefitError(DifferlineError):
    """A product is not learned anew: another refit of it runs, or there is nothing to learn from."""


class RequestLostError(DifferlineError):
    """A request of the dashboard is no longer this trainer's: another one took it, or it is done; nothing was written."""


class CurationError(DifferlineError):
    """A decision about a frame is not taken: the frame is not known, not kept, or held in quarantine."""


class PretrainingError(DifferlineError):
    """Pretraining cannot begin, go on or end; the last good checkpoint is kept."""


class ExportError(DifferlineError):
    """A model cannot be handed to other programs: it is refused, or would not score there as it does here."""


class StaleEpochError(DifferlineError):
    """Another worker was given the partition since; nothing was written."""


class PositionLostError(DifferlineError):
    """The stored position lies behind the end of its partition: the topic was made anew, or lost what it acknowledged.

    `differline positions` shows it and moves it.
    """


class PositionRefusedError(DifferlineError):
    """A kept position would jump over frames that wait, and nobody has said that they may be left out."""


class OutputError(DifferlineError):
    """An output is not forgotten, or a message not sent to it again: what is asked for does not go with how it stands."""


class DeadLetterLimitError(DifferlineError):
    """More frames in a minute cannot be judged than the limit allows: more likely a bad release than bad frames."""


class TransientError(DifferlineError):
    """A server is away for now; the work is kept and tried again."""


class DatabaseAwayError(TransientError):
    """PostgreSQL does not answer."""


class BusAwayError(TransientError):
    """The frames bus does not answer."""


class ArchiveAwayError(TransientError):
    """The archive of pictures does not answer."""


class PeerAwayError(TransientError):
    """The peer of an output does not take verdicts now; its text has no credentials."""


class CameraAwayError(TransientError):
    """A camera does not answer, or sends nothing."""


class CameraLoginError(CameraAwayError):
    """A camera refuses the user name and password that it was given, or wants some; somebody may mend that."""


class BusFullError(TransientError):
    """The stream stands at its bound and nothing was scored in the time given."""


class SpoolFullError(TransientError):
    """The disk spool of a camera stands at its bound, or its disk is full; the frame was not accepted."""
