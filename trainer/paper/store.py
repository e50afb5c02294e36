"""Arrays on disk, found by what they were made of: an interrupted report goes on where it was."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import TrainingSetError

FORMAT = 1  # raise it when the way an array is computed changes: keys name inputs, not code

Key = Mapping[str, object]
"""What an array was made of; JSON values only. Whatever changes the array belongs in it, the extractor's SHA-256 first."""


@dataclass(frozen=True)
class ArrayStore:
    """A folder of arrays. An array of other inputs has another name, so a stale one is never found.

    Attributes:
        folder: Where they lie; made when the first one is written.
    """

    folder: Path

    def read(self, key: Key) -> NDArray[Any] | None:
        """Return the array of that key; None where there is none, or only a part of one."""
        try:
            return np.asarray(np.load(self._path(key), allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None

    def write(self, key: Key, array: NDArray[Any]) -> None:
        """Keep an array; it appears whole or not at all.

        Raises:
            TrainingSetError: The folder cannot be written to, or its disk is full.
        """
        path = self._path(key)
        data = io.BytesIO()
        np.save(data, array, allow_pickle=False)
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(data.getvalue())
            unfinished.replace(path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise TrainingSetError(f"cannot keep what was computed in {self.folder}: {error.strerror}") from error

    def _path(self, key: Key) -> Path:
        name = hashlib.sha256(json.dumps({**key, "format": FORMAT}, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.npy"
