"""What the detector refuses; every text is one line for the person who reads it."""


class DetectorError(ValueError):
    """Base of the detector's errors."""


class ArtifactRefusedError(DetectorError):
    """A model artifact is missing, broken, of an unknown format, or not the one that was asked for."""


class ExtractorError(DetectorError):
    """The extractor's weights cannot be had, or do not fit AlexNet."""


class CalibrationError(DetectorError):
    """Scores or a rate that no threshold can be set from."""


class ParityError(DetectorError):
    """A graph of a model does not score as the model does."""
