"""Cameras as they are written down: a TOML file with a table `[[camera]]` for each, or the options of a command."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import SettingsError
from ingest.cameras import AnyCamera, Camera

_LARGEST_FILE = 2**20
_WORDS = {"extra_forbidden": "there is no such key", "missing": "is missing"}
_Kind = TypeVar("_Kind", bound=Camera)


class _CameraFile(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    camera: list[AnyCamera] = Field(min_length=1)


def read_cameras(path: Path) -> list[AnyCamera]:
    """Read a TOML file of cameras.

    Raises:
        SettingsError: It cannot be read, or something in it is wrong: one line for each mistake, without any value.
    """
    raw = _raw(path)
    try:
        cameras = _CameraFile.model_validate(raw).camera
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in _mistakes(error, raw))) from None
    names = [camera.name for camera in cameras]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"{path}: two cameras are called {', '.join(twice)}; each needs a name of its own")
    return cameras


def camera_from_options(kind: type[_Kind], **options: Any) -> _Kind:
    """Return a camera by the options of a command; those that are None were not given.

    Raises:
        SettingsError: One of them is wrong: one line for each mistake, without any value.
    """
    try:
        return kind(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        lines = []
        for mistake in error.errors(include_input=False, include_url=False):
            name = str(mistake["loc"][0]) if mistake["loc"] else ""
            option = {"name": "--camera", "url": "URL", "file": "FILE", "device": "DEVICE"}.get(name, f"--{name}")
            lines.append((option.replace("_", "-") + ": " if name else "") + _words(mistake))
        raise SettingsError("\n".join(lines)) from None


def _raw(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            read = file.read(_LARGEST_FILE + 1)
        if len(read) > _LARGEST_FILE:
            raise SettingsError(f"{path} is larger than {_LARGEST_FILE} bytes: no file of cameras")
        return tomllib.loads(read.decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None


def _mistakes(error: ValidationError, raw: dict[str, Any]) -> list[str]:
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        where = list(mistake["loc"])
        words = _words(mistake)
        if len(where) > 1 and where[0] == "camera" and isinstance(where[1], int):
            lines.append(": ".join([_called(raw, where[1]), *(str(part) for part in where[3:4]), words]))
        elif where == ["camera"] and mistake["type"] in ("missing", "too_short"):
            lines.append("there is no camera: write a table [[camera]] for each")
        else:
            lines.append(": ".join([*(str(part) for part in where), words]))
    return lines


def _called(raw: dict[str, Any], number: int) -> str:
    table = raw["camera"][number]
    name = table.get("name") if isinstance(table, dict) else None
    return f"camera {number + 1}" + (f" ({name})" if isinstance(name, str) and name.isprintable() else "")


def _words(mistake: Any) -> str:
    if mistake["type"] == "union_tag_not_found":
        return "kind: is missing"
    if mistake["type"] == "union_tag_invalid":
        return f"kind: must be one of {mistake['ctx']['expected_tags']}".replace("'", "")
    return _WORDS.get(mistake["type"]) or str(mistake["msg"]).removeprefix("Value error, ")
