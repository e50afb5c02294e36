"""Frame pictures, kept by the SHA-256 of their bytes: a folder by default, S3 and the like by an fsspec URL.

A name from outside never becomes a path, the same picture is kept once, and what is read can be checked.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
from fsspec.implementations.local import LocalFileSystem

from infra.errors import ArchiveAwayError
from infra.frames import new_id, sha256_hex

_REF = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")


class PictureAlteredError(FileNotFoundError):
    """What is kept under a reference does not have its SHA-256."""


# An S3 that is away is told within seconds: whoever waits for it goes on heartbeating, and tries again.
_S3 = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 2}}}


def reference_of(sha256: str) -> str:
    """Return the reference of the picture whose bytes have this SHA-256, in hex."""
    return f"{sha256[:2]}/{sha256}"


def is_reference(text: str) -> bool:
    """Tell whether a text has the form of our own references; a path or a URL has not."""
    digest = text.partition("/")[2]
    return _REF.fullmatch(text) is not None and text[:2] == digest[:2]


class Archive:
    """A store of pictures under one location."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        self._files = filesystem
        self._root = root.rstrip("/")

    def write(self, data: bytes) -> str:
        """Keep a picture; whole or not at all.

        Returns:
            Its reference, for `read`.

        Raises:
            ArchiveAwayError: The archive does not answer, or takes nothing more.
        """
        digest = sha256_hex(data)
        ref = reference_of(digest)
        path = f"{self._root}/{ref}"
        with self._errors("keep a picture"):
            if not self._files.exists(path):
                partial = f"{path}.{new_id()}.partial"
                self._files.pipe_file(partial, data)
                self._files.mv(partial, path)
        return ref

    def read(self, ref: str) -> bytes:
        """Return a picture.

        Raises:
            FileNotFoundError: It is not kept.
            PictureAlteredError: It is not what its name says.
            ArchiveAwayError: The archive does not answer.
        """
        if not is_reference(ref):
            raise FileNotFoundError(f"not an archive reference: {ref[:80]!r}")
        with self._errors("read a picture", FileNotFoundError):
            data: bytes = self._files.cat_file(f"{self._root}/{ref}")
        if sha256_hex(data) != ref.partition("/")[2]:
            raise PictureAlteredError(f"{ref} was altered: its bytes do not have that SHA-256")
        return data

    def holds(self, ref: str) -> bool:
        """Tell whether a picture is kept; not whether it is whole.

        Raises:
            ArchiveAwayError: The archive does not answer.
        """
        with self._errors("look for a picture"):
            return is_reference(ref) and bool(self._files.exists(f"{self._root}/{ref}"))

    def prepare(self) -> None:
        """Make the folder of the archive, so that `check_present` can tell an absent archive from an empty one.

        Raises:
            ArchiveAwayError: It cannot be made.
        """
        if isinstance(self._files, LocalFileSystem):
            with self._errors("make its folder"):
                self._files.makedirs(self._root, exist_ok=True)

    def check_present(self) -> None:
        """Tell a picture that is missing from an archive that is: a disk that is not mounted, a bucket of another name.

        Raises:
            ArchiveAwayError: The folder or the bucket of the archive is not there, or does not answer.
        """
        if isinstance(self._files, LocalFileSystem):
            there = self._files.isdir(self._root)
        elif "s3" in self._files.protocol:
            with self._errors("look for its bucket"):
                there = self._files.exists(self._root.partition("/")[0])
        else:
            there = True
        if not there:
            raise ArchiveAwayError(f"the archive {self._root} is not there")

    @contextmanager
    def _errors(self, doing: str, *meant: type[Exception]) -> Iterator[None]:
        """Translate what fsspec's many file systems raise, each its own: OSError, botocore's, aiohttp's."""
        try:
            yield
        except meant:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or "no reason given"
            raise ArchiveAwayError(f"the archive cannot {doing}: {type(error).__name__}: {reason}") from error


def open_archive(location: str) -> Archive:
    """Open the archive at a folder or an fsspec URL.

    S3 (`s3://bucket/prefix`) takes key, secret, region and endpoint from the environment, as every AWS tool does
    (`AWS_ACCESS_KEY_ID`, …, `AWS_ENDPOINT_URL_S3`), or from the machine's role.
    """
    options = _S3 if location.startswith(("s3://", "s3a://")) else {}
    filesystem, root = fsspec.core.url_to_fs(location, **options)
    if isinstance(filesystem, LocalFileSystem):
        filesystem.auto_mkdir = True
    return Archive(filesystem, root)
