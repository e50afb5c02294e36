"""What a camera is and how its pictures are taken: the options of a command, or a table in a TOML file of cameras."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, SecretStr, model_validator

from infra.errors import SettingsError
from ingest.names import checked_name
from ingest.part_id import PartCode, PartNames, parsed_pattern
from ingest.shaping import JPEG_QUALITY, Region, Shaping, Size, parsed_region, parsed_size
from ingest.sources.address import CameraAddress, parsed_address

_LONGEST_SECRET = 4096
_T = TypeVar("_T")


def _read_by(parse: Callable[[str], _T]) -> Callable[[Any], _T]:
    def read(value: Any) -> _T:
        if not isinstance(value, str):
            raise ValueError("must be a text")  # noqa: TRY004 - pydantic reports a ValueError as a mistake
        try:
            return parse(value)
        except SettingsError as error:
            raise ValueError(str(error)) from None

    return read


_Name = Annotated[str, AfterValidator(checked_name)]
_Region = Annotated[Region, PlainValidator(_read_by(parsed_region))]
_Size = Annotated[Size, PlainValidator(_read_by(parsed_size))]
_Pattern = Annotated[PartNames, PlainValidator(_read_by(parsed_pattern))]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Timeout = Annotated[float, Field(ge=0.5, le=60)]


class Camera(BaseModel):
    """What every kind has: who it is, and which pictures are taken.

    Attributes:
        name: Its name; its frames stay in order.
        product: What is on the pictures.
        job: Job of all its pictures.
        fps: Pictures a second at most.
        spool: Whether pictures are kept on disk while the bus is away.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: _Name
    product: _Name
    job: _Name | None = None
    fps: _Rate | None = None
    spool: bool = False


class DecodedCamera(Camera):
    """A kind whose pictures are decoded here, so that they can be thinned, cut, resized and encoded.

    Attributes:
        every: Every N-th picture is taken.
        trigger: A named pipe, or `-` for standard input: one picture is taken for each line.
        region: The part that is sent.
        size: What that is resized to.
        jpeg_quality: 1 to 100.
        png: PNG instead of JPEG.
        part_code: Code in the picture that has the part's id.
    """

    every: int = Field(1, ge=1)
    trigger: str | None = Field(None, min_length=1)
    region: _Region | None = None
    size: _Size | None = None
    jpeg_quality: int = Field(JPEG_QUALITY, ge=1, le=100)
    png: bool = False
    part_code: PartCode | None = None

    @model_validator(mode="after")
    def _one_way_of_choosing(self) -> "DecodedCamera":
        if self.trigger is not None and (self.every != 1 or self.fps is not None):
            raise ValueError("trigger takes one picture for each line: it goes with neither every nor fps")
        return self

    @property
    def shaping(self) -> Shaping:
        """How its pictures are cut, resized and encoded."""
        return Shaping(self.region, self.size, None if self.png else self.jpeg_quality)


class VideoCamera(DecodedCamera):
    """A video file."""

    kind: Literal["video"] = "video"
    file: Path


class LiveKind(DecodedCamera):
    """A camera that runs whether we keep up or not.

    Attributes:
        timeout_s: How long it may take to open, and to send a picture, in seconds.
    """

    spool: bool = True
    timeout_s: _Timeout = 5.0


class RtspCamera(LiveKind):
    """A camera that is read by RTSP.

    Attributes:
        url: Its address; `${VARIABLE}` stands for one of the environment.
        user: User name, where the address has none.
        password_env: Variable of the environment with the password.
        password_file: File with the password.
    """

    kind: Literal["rtsp"] = "rtsp"
    url: SecretStr
    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _one_password(self) -> "RtspCamera":
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("password_env and password_file are two ways to say the same: take one")
        return self

    def address(self) -> CameraAddress:
        """Return the address, with the password looked up.

        Raises:
            SettingsError: It is none, or the password is not there.
        """
        return parsed_address(self.url.get_secret_value(), user=self.user, password=self._password())

    def _password(self) -> str | None:
        if self.password_env is not None:
            found = os.environ.get(self.password_env)
            if not found:
                raise SettingsError(f"the environment has no variable {self.password_env} with the camera's password")
            return found
        if self.password_file is None:
            return None
        try:
            with self.password_file.open(encoding="utf-8") as file:
                password = file.read(_LONGEST_SECRET).rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise SettingsError(f"the password file {self.password_file} cannot be read") from None
        if not password:
            raise SettingsError(f"the password file {self.password_file} is empty")
        return password


class UsbCamera(LiveKind):
    """A V4L2 device.

    Attributes:
        device: Such as /dev/video0.
        capture_size: What the camera is asked for; it takes the nearest that it has.
        capture_fps: The same for its pace.
    """

    kind: Literal["usb"] = "usb"
    device: Path
    capture_size: _Size | None = None
    capture_fps: _Rate | None = None


class GigeCamera(LiveKind):
    """A GigE Vision camera.

    Attributes:
        id: Aravis' id of it, or its IP address; None: the first one that is found.
        pixel_format: GenICam's name; None: what the camera is set to.
        camera_trigger: `free`, `software` or a line of the camera, such as `Line1`.
        capture_fps: Pictures a second that the camera is asked for, or triggered.
    """

    kind: Literal["gige"] = "gige"
    id: _Name | None = None
    pixel_format: Literal["Mono8", "RGB8", "BGR8", "BayerGR8", "BayerRG8", "BayerGB8", "BayerBG8"] | None = None
    camera_trigger: Annotated[str, Field(pattern=r"^(free|software|Line\d{1,2})$")] = "free"
    capture_fps: _Rate | None = None

    @model_validator(mode="after")
    def _software_has_a_pace(self) -> "GigeCamera":
        if self.camera_trigger == "software" and self.capture_fps is None:
            raise ValueError("capture_fps says how often a camera is triggered by software: it is missing")
        if self.camera_trigger not in ("free", "software") and (
            self.capture_fps is not None or self.fps is not None or self.trigger is not None or self.every != 1
        ):
            raise ValueError("a camera that is triggered by its line sends each part once: no pace and no choice")
        return self


class FolderCamera(Camera):
    """A folder that somebody else writes pictures into, which are sent byte for byte.

    Attributes:
        folder: The folder.
        watch: Whether it stays, and sends what is added.
        part_pattern: Reads part and job out of a file's path.
        part_code: Code in the picture that has the part's id.
    """

    kind: Literal["folder"] = "folder"
    folder: Path
    watch: bool = True
    part_pattern: _Pattern | None = None
    part_code: PartCode | None = None


AnyCamera = Annotated[VideoCamera | RtspCamera | UsbCamera | GigeCamera | FolderCamera, Field(discriminator="kind")]
