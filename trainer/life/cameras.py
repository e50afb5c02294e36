"""By which threshold a model judges the frames of each camera, for people."""

from collections import Counter
from typing import NamedTuple

from scorer.detector import Manifest, pictures_needed


class CameraLine(NamedTuple):
    """A camera that calibration pictures came from.

    Attributes:
        camera: Its name, as it came from outside.
        frames: How many of them.
        judged_by: The threshold of its own and what it promises, or why it has none.
    """

    camera: str
    frames: int
    judged_by: str


def camera_lines(manifest: Manifest) -> list[CameraLine]:
    """Say of each camera, in the order of their names, what judges its frames; nothing, where no camera is known."""
    own, rate = manifest.camera_calibrations, manifest.false_alarm_rate
    counted = Counter(camera for camera in manifest.calibration_cameras if camera is not None)
    lines = []
    for camera, frames in sorted(counted.items()):
        if camera in own:
            bound = own[camera].rate_upper_bound()
            said = f"its own threshold, {own[camera].threshold:.4g}; with 95 % confidence the true rate is below {bound:.3%}"
        else:
            said = f"the threshold of all cameras: {rate:.3%} needs {pictures_needed(rate)}"
        lines.append(CameraLine(camera, frames, said))
    return lines
