"""Frame pictures, kept by the SHA-256 of their bytes: a folder by default, S3 and the like by an fsspec URL.

A name from outside never becomes a path, the same picture is kept once, and what is read can be checked.
"""

import re

import fsspec
from fsspec.implementations.local import LocalFileSystem

from infra.frames import new_id, sha256_hex

_REF = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")


class Archive:
    """A store of pictures under one location."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        self._files = filesystem
        self._root = root.rstrip("/")

    def write(self, data: bytes) -> str:
        """Keep a picture; whole or not at all.

        Returns:
            Its reference, for `read`.
        """
        digest = sha256_hex(data)
        ref = f"{digest[:2]}/{digest}"
        path = f"{self._root}/{ref}"
        if not self._files.exists(path):
            partial = f"{path}.{new_id()}.partial"
            self._files.pipe_file(partial, data)
            self._files.mv(partial, path)
        return ref

    def read(self, ref: str) -> bytes:
        """Return a picture.

        Raises:
            FileNotFoundError: It is not kept, or is not what its name says.
        """
        if not _REF.fullmatch(ref):
            raise FileNotFoundError(f"not an archive reference: {ref[:80]!r}")
        data: bytes = self._files.cat_file(f"{self._root}/{ref}")
        if sha256_hex(data) != ref.partition("/")[2]:
            raise FileNotFoundError(f"{ref} was altered: its bytes do not have that SHA-256")
        return data


def open_archive(location: str) -> Archive:
    """Open the archive at a folder or an fsspec URL (`s3://bucket/prefix`)."""
    filesystem, root = fsspec.core.url_to_fs(location)
    if isinstance(filesystem, LocalFileSystem):
        filesystem.auto_mkdir = True
    return Archive(filesystem, root)
