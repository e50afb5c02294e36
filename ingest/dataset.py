"""Writes simulated pictures as a folder in the layout of MVTec AD, to train and evaluate on."""

import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from infra.errors import SettingsError
from ingest.sources import CapturedPicture

_UNKNOWN = "unknown"


def write_dataset(
    pictures: Iterable[CapturedPicture], target: Path, *, training: bool, stop: threading.Event
) -> Counter[str]:
    """Write pictures to `train/good` or `test/KIND` below a folder, named by their number.

    A folder that begins with the same picture is written again, so that what was interrupted can be repeated.

    Args:
        pictures: With their ground truth.
        target: The folder; made where it is missing.
        training: To `train/good`, otherwise to `test/KIND`.
        stop: Ends the writing after the picture in hand when set.

    Returns:
        How many pictures of each kind were written.

    Raises:
        SettingsError: `train/good` or `test` holds another set (two seeds in one folder would pass for one set), or the
            folder cannot be written.
    """
    branch = target / "train" / "good" if training else target / "test"
    counts: Counter[str] = Counter()
    try:
        occupied = branch.exists() and any(branch.iterdir())
        for index, picture in enumerate(pictures):
            if stop.is_set():
                break
            kind = picture.simulated or _UNKNOWN
            folder = branch if training else branch / kind
            path = folder / f"{index:06d}.jpg"
            if index == 0 and occupied and not (path.is_file() and path.read_bytes() == picture.body):
                raise SettingsError(f"{branch} holds other pictures; name another folder or empty it")
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.body)
            counts[kind] += 1
    except OSError as error:
        raise SettingsError(f"cannot write to {branch}: {error.strerror or error}") from error
    return counts
