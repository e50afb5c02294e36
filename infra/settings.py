"""Settings of every service: environment `DIFFERLINE_*`, then a TOML file, then the defaults below.

The README's settings table is generated from this class (`python -m infra.settings`), and a test compares the two.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings import SettingsError as SettingsSourceError

from infra.errors import SettingsError
from infra.notices.hours import quiet_hours
from infra.plant_time import shift_starts, zone_named

ENV_PREFIX = "DIFFERLINE_"
CONFIG_VARIABLE = "DIFFERLINE_CONFIG"
DEFAULT_CONFIG = "differline.toml"
_TEST_PREFIX = "DIFFERLINE_TEST_"


class Settings(BaseSettings):
    """Everything that can be set. Ports, URLs and folders first, then limits, then the scorer."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(
        Path(".differline"), description="folder of the embedded engines, the archive and the models"
    )
    database_url: str | None = Field(
        None, description="PostgreSQL as `postgresql://…`; unset: the embedded one under `data_dir`"
    )
    redis_url: str | None = Field(None, description="Redis as `redis://…`; unset: the embedded one under `data_dir`")
    archive_url: str | None = Field(
        None, description="where pictures are kept: a folder or `s3://bucket/prefix`; unset: `data_dir`/archive"
    )
    models_dir: Path | None = Field(None, description="folder of the model artifacts; unset: `data_dir`/models")
    bus: Literal["redis", "kafka"] = Field("redis", description="which frames bus: Redis Streams or Apache Kafka")
    frames_topic: str = Field("frames", description="topic of the frame messages")
    verdicts_topic: str = Field("verdicts", description="topic of the verdicts, on Kafka")
    standing_topic: str = Field("standing", description="topic of the heartbeat and the cameras' standing, on Kafka")
    partitions: int = Field(4, ge=1, le=1024, description="partitions of the frames topic; a camera stays in one")
    bus_max_frames: int = Field(
        256, ge=1, description="frames that may wait in one partition before the producer must wait"
    )
    bus_send_timeout_s: float = Field(
        300.0,
        gt=0,
        description="how long a frame may wait for the bus before ingest reports an error; it goes on trying",
    )
    kafka_servers: str = Field(
        "127.0.0.1:19092", min_length=1, description="Kafka's brokers, as `host:port`, separated by commas"
    )
    kafka_group: str = Field("differline-scorers", min_length=1, description="the scorers' Kafka consumer group")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how Kafka's brokers are spoken to"
    )
    kafka_ssl_cafile: Path | None = Field(
        None, description="certificates that sign Kafka's brokers, PEM; unset: the system's"
    )
    kafka_ssl_certfile: Path | None = Field(None, description="our certificate towards Kafka, PEM")
    kafka_ssl_keyfile: Path | None = Field(None, description="key of our certificate towards Kafka, PEM")
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="how we log in to Kafka with `SASL_…`"
    )
    kafka_sasl_username: str | None = Field(None, description="user of Kafka")
    kafka_sasl_password: SecretStr | None = Field(None, description="password of Kafka's user")
    kafka_replication: int = Field(1, ge=1, description="copies of each topic that `differline topics` makes")
    kafka_retention_hours: int = Field(
        168, ge=1, description="how long Kafka keeps a message, scored or not: longer than any outage, in hours"
    )
    kafka_session_timeout_s: float = Field(
        10.0,
        ge=1,
        description="a silent scorer loses its partitions after so many seconds; brokers allow 6 or more by default",
    )
    kafka_max_poll_interval_s: float = Field(
        300.0, gt=0, description="a scorer that asks for no frames for so long loses its partitions, in seconds"
    )
    kafka_stall_s: float = Field(
        60.0,
        gt=0,
        description="a Kafka client with frames waiting that stands still for so long is restarted, in seconds",
    )
    outbox: Literal["auto", "on", "off"] = Field(
        "auto",
        description="whether verdicts and dead letters are put aside for `differline relay`; `auto`: where an output is set, "
        "so that one machine collects no rows that nobody reads. Scorers must know it",
    )
    verdict_deadline_s: float = Field(
        30.0,
        gt=0,
        description="a verdict that reaches an output later, counted from the bus's receipt of the frame, is late: the output "
        "says NO_VERDICT for its camera, in seconds; set it to what your reject gate allows",
    )
    standing_every_s: float = Field(
        10.0,
        ge=1,
        description="Kafka and the webhook are told so often, beside every change, that the relay lives, in seconds; whoever "
        "hears nothing for three times as long takes every camera for NO_VERDICT",
    )
    outputs_refused: int = Field(
        60,
        ge=1,
        description="when the peer of an output refuses more messages in a minute, or so many in a row, they are not put on "
        "record but wait: its address is wrong, more likely than all of them",
    )
    outputs_keep_days: float = Field(
        7.0,
        gt=0,
        description="an output that no relay has worked for so long, while one worked for others, is forgotten with what "
        "waits for it, in days",
    )
    webhook_url: SecretStr | None = Field(
        None,
        description="where verdicts are posted, as `https://…`; unset: nowhere. Shown nowhere, it may have credentials",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="signs what is posted: `whsec_` and 24 to 64 random bytes in base64; two of them, separated by a blank, "
        "while keys change",
    )
    webhook_timeout_s: float = Field(
        10.0, gt=0, le=60, description="how long the webhook may take to answer, in seconds"
    )
    webhook_cafile: Path | None = Field(
        None, description="certificates that sign the webhook's, PEM; unset: the system's"
    )
    spool_max_bytes: int = Field(
        10 * 2**30,
        ge=2**20,
        description="what the disk spool of a camera may hold while the bus is away, in bytes; a full one stops a triggered "
        "camera with an error, and one that runs freely skips frames, which the ledger counts",
    )
    spool_keep_free_bytes: int = Field(
        2 * 2**30,
        ge=0,
        description="a spool counts as full when its disk has less than this left, for the databases beside it, in bytes",
    )
    mqtt_host: str | None = Field(
        None, min_length=1, description="MQTT 5 broker that verdicts go to, by name or address; unset: none"
    )
    mqtt_port: int = Field(1883, ge=1, le=65535, description="port of the MQTT broker; with TLS it is mostly 8883")
    mqtt_prefix: str = Field(
        "differline",
        pattern=r"^[^+#/$\x00][^+#\x00]*$",
        max_length=1000,
        description="how every MQTT topic begins: `PREFIX/verdicts/CAMERA`, `PREFIX/status`, …",
    )
    mqtt_client_id: str = Field(
        "differline", min_length=1, description="our client id at the MQTT broker: another one for each line"
    )
    mqtt_username: str | None = Field(None, description="user of the MQTT broker")
    mqtt_password: SecretStr | None = Field(None, description="password of that user")
    mqtt_tls: bool = Field(False, description="whether the MQTT broker is spoken to by TLS")
    mqtt_ssl_cafile: Path | None = Field(
        None, description="certificates that sign the MQTT broker's, PEM; unset: the system's"
    )
    mqtt_ssl_certfile: Path | None = Field(None, description="our certificate towards the MQTT broker, PEM")
    mqtt_ssl_keyfile: Path | None = Field(None, description="key of our certificate towards the MQTT broker, PEM")
    opcua_port: int = Field(
        0, ge=0, le=65535, description="port of the OPC UA server that a PLC reads verdicts from, mostly 4840; 0: none"
    )
    opcua_host: str = Field("127.0.0.1", min_length=1, description="address the OPC UA server listens on")
    opcua_username: str | None = Field(None, description="user that may read from the OPC UA server")
    opcua_password: SecretStr | None = Field(None, description="password of that user")
    opcua_certfile: Path | None = Field(
        None, description="the OPC UA server's certificate, PEM; with one it only speaks Basic256Sha256"
    )
    opcua_keyfile: Path | None = Field(None, description="key of that certificate, PEM")
    opcua_anonymous: Literal["auto", "on", "off"] = Field(
        "auto", description="whether clients without a user may read from the OPC UA server; `auto`: on loopback only"
    )
    opcua_events: Literal["send", "wait"] = Field(
        "send",
        description="`wait`: verdicts wait in the outbox until each OPC UA client that is subscribed to events, at least one, "
        "has acknowledged them",
    )
    notify_urls: dict[str, SecretStr] = Field(
        {},
        description="who is told of alerts by `differline notify`: a name and an Apprise URL for each, as JSON, e.g. "
        '`{"mail": "mailtos://user:password@host?to=line@plant.example"}`',
    )
    notify_group_s: float = Field(
        60.0, ge=0, description="so long the first alert waits for others to come into the same message, in seconds"
    )
    quiet_hours: str | None = Field(
        None, description="when nobody is told, in the plant's time, e.g. `22:00-06:00`; unset: never"
    )
    escalate_urls: dict[str, SecretStr] = Field(
        {}, description="who is told of an alert that nobody has acknowledged, as `DIFFERLINE_NOTIFY_URLS`"
    )
    escalate_after_min: float = Field(
        30.0,
        gt=0,
        description="they are told when an alert has been open for so long, quiet hours left out, in minutes",
    )
    dashboard_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s@]+$",
        description="the dashboard's address in a browser, for the links in messages; unset: they have none",
    )
    gige_python: Path = Field(
        Path("/usr/bin/python3"), description="the Python that has PyGObject and Aravis, for GigE Vision cameras"
    )
    http_host: str = Field("127.0.0.1", description="address that `differline ingest http` takes frames on")
    http_port: int = Field(8600, ge=0, le=65535, description="port that it takes frames on; 0: a free one")
    http_token: SecretStr | None = Field(
        None,
        min_length=1,
        description="what a client has to send as `Authorization: Bearer …`; unset: nothing, on a loopback address only",
    )
    http_camera_tokens: dict[str, SecretStr] = Field(
        {},
        description="the tokens of cameras that have one of their own, as JSON; they win over `DIFFERLINE_HTTP_TOKEN`",
    )
    http_max_cameras: int = Field(64, ge=1, le=1024, description="how many cameras may post to one process")
    http_read_timeout_s: float = Field(
        30.0, gt=0, description="a posted frame that is not whole after so long is refused, in seconds"
    )
    redis_max_memory_mb: int = Field(2048, ge=64, description="memory bound of the embedded Redis, in MiB")
    dedupe_days: int = Field(
        7, ge=1, description="how far back a frame is recognised as already judged, by camera and id, in days"
    )
    max_frame_bytes: int = Field(8 * 2**20, ge=1024, description="largest encoded picture, in bytes")
    claim_check_bytes: int = Field(
        8 * 2**20,
        ge=1,
        description="a larger picture goes to the archive, and its message only says where, in bytes",
    )
    dead_letters_per_minute: int = Field(
        60,
        ge=1,
        description="when more frames cannot be judged in a minute, over all scorers, the scorers stop and raise an alert",
    )
    max_pixels: int = Field(
        50_000_000, ge=1, description="largest picture, in pixels; read from its header before decoding"
    )
    batch_frames: int = Field(16, ge=1, le=1024, description="frames scored at once, over all cameras")
    batch_wait_ms: int = Field(
        50, ge=0, description="how long a part-filled batch waits for more frames, in milliseconds"
    )
    late_after_s: float | None = Field(
        None,
        gt=0,
        description="a frame that was captured longer ago when its scoring would begin is not scored: NO_VERDICT (late), in "
        "seconds by the camera's clock; unset: none is too late",
    )
    frozen_after: int = Field(
        5,
        ge=0,
        description="so many equal pictures of a camera in a row are believed, those after them are NO_VERDICT (frozen); "
        "0: all are",
    )
    silent_after_s: float | None = Field(
        60.0,
        gt=0,
        description="a camera that was not ended and sends nothing for so long raises an alert, in seconds; unset: none does",
    )
    clock_skew_s: float = Field(
        5.0, gt=0, description="a camera whose clock is so far from the bus's raises an alert, in seconds"
    )
    heatmap_sample: int = Field(
        50, ge=1, description="of the frames that are not DEFECT, one in this many gets a heatmap"
    )
    archive_per_hour: int = Field(
        60,
        ge=0,
        description="of the GOOD frames of a camera and hour, so many are kept in the archive, drawn at random, and those "
        "that were among them while the hour lasted: of 3,600 frames 5 times as many",
    )
    quarantine_p_value: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a frame whose p-value is lower enters training only when a person releases it, by no rule",
    )
    refit_after_days: float = Field(
        30.0,
        gt=0,
        description="a refit is due when the newest model is so old and a picture was released since, in days",
    )
    refit_after_frames: int = Field(
        200, ge=1, description="a refit is due when so many pictures were released that the newest model does not know"
    )
    models_in_memory: int = Field(
        64,
        ge=1,
        description="models that a scorer keeps in memory, those that were used last; products of one flow count as one; "
        "one of preset `paper` takes 0.7 GB",
    )
    device: str = Field("auto", description="`auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, …")
    backend: Literal["torch", "onnxruntime"] = Field(
        "torch",
        description="what computes in a scorer; `onnxruntime`: in float32 on the CPU, with the extra `differline[onnx]`",
    )
    arithmetic: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="what the extractor computes in; `auto`: bfloat16 where the processor or GPU has instructions for it",
    )
    early_exit: bool = Field(
        True, description="look at few views first, and at more only where they could change the verdict"
    )
    cpu_threads: int = Field(0, ge=0, description="threads of the scorer and trainer; 0: torch's choice")
    cpu_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of this machine's cores that a scorer's threads may use; `score --workers` divides it among its "
        "scorers, and `cpu_threads` wins",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        description="threads that decode frames while others are scored; 0: one for each of its cores, 8 at most",
    )
    extractor: str = Field(
        "bundled",
        description="extractor weights: `bundled`, `imagenet` (torchvision's API), `random` or a `.safetensors` file",
    )
    extractor_seed: int = Field(0, description="seed of the `random` extractor weights")
    dashboard_host: str = Field("127.0.0.1", description="address the dashboard listens on")
    dashboard_port: int = Field(8501, ge=1, le=65535, description="port the dashboard listens on")
    dashboard_role: Literal["auto", "none", "viewer", "inspector", "engineer", "admin"] = Field(
        "auto",
        description="what everybody is on the dashboard while no OIDC provider is named; `auto`: `admin` where the dashboard "
        "listens on a loopback address, else `viewer`",
    )
    time_zone: str | None = Field(
        None, description="the plant's time zone as IANA names it, e.g. `Europe/Berlin`; unset: this machine's"
    )
    shifts: str = Field("06:00,14:00,22:00", description="when shifts begin, in the plant's time, separated by commas")
    oidc_metadata_url: str | None = Field(
        None,
        description="OIDC provider that people sign in at, as `https://…/.well-known/openid-configuration`; unset: nobody has "
        "to, see `DIFFERLINE_DASHBOARD_ROLE`",
    )
    oidc_client_id: str = Field("differline", description="our name at the OIDC provider")
    oidc_client_secret: SecretStr | None = Field(None, description="our password at the OIDC provider")
    oidc_cookie_secret: SecretStr | None = Field(
        None,
        description="signs the sign-in cookies, 32 characters or more; unset: people sign in again after a restart",
    )
    oidc_redirect_url: str | None = Field(
        None,
        description="where the OIDC provider sends people back to: the dashboard's address in a browser with "
        "`/oauth2callback`; unset: that of this machine",
    )
    oidc_name_claim: str = Field(
        "email",
        description="claim with the name that stands beside what somebody does: unique, and not to be chosen by the person",
    )
    oidc_role_claim: str = Field("roles", description="claim with the roles of a person: a text or a list of them")
    oidc_roles: dict[str, Literal["viewer", "inspector", "engineer", "admin"]] = Field(
        {
            "differline-viewer": "viewer",
            "differline-inspector": "inspector",
            "differline-engineer": "engineer",
            "differline-admin": "admin",
        },
        description="what each value of that claim means, as JSON; the highest counts, and a person without one may not look",
    )
    oidc_confirm: bool = Field(
        True,
        description="whether the provider's user info is asked again, when its last answer is a second old and before every "
        "write, so that a role that is taken away there is gone here; `false`: the claims of the sign-in count",
    )
    oidc_session_hours: float = Field(12.0, gt=0, description="people sign in again after so many hours: about a shift")
    metrics_host: str = Field("127.0.0.1", description="address that `/metrics` and `/healthz` are served on")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of `/metrics` and `/healthz`, one for each service of a machine; 0: none"
    )
    health_stale_s: float = Field(
        120.0, gt=0, description="`/healthz` answers 503 when work waits and the last result is older, in seconds"
    )
    user: str = Field(
        "local", min_length=1, max_length=100, description="name that stands beside what is acknowledged or reset here"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the TOML file; no .env files and no secrets folder."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
        return (init_settings, env_settings, toml)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        zone_named(name)
        return name

    @field_validator("webhook_url", "webhook_secret")
    @classmethod
    def _blank_is_unset(cls, secret: SecretStr | None) -> SecretStr | None:
        return None if secret is None or not secret.get_secret_value().strip() else secret

    @field_validator("shifts")
    @classmethod
    def _shifts_of_a_day(cls, text: str) -> str:
        shift_starts(text)
        return text

    @field_validator("quiet_hours")
    @classmethod
    def _hours_of_a_day(cls, text: str | None) -> str | None:
        if text is not None:
            quiet_hours(text)
        return text

    @field_validator("mqtt_host")
    @classmethod
    def _host(cls, name: str | None) -> str | None:
        try:
            (name or "").encode("idna")
        except UnicodeError as error:
            raise ValueError(f"{name!r} is no host name") from error
        return name

    @property
    def fills_outbox(self) -> bool:
        """Whether scorers put verdicts and dead letters aside for the relay."""
        return self.outbox == "on" or (self.outbox == "auto" and bool(self.outputs))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that are on; `infra.outputs.connect` opens them."""
        on = {
            "kafka": self.bus == "kafka",
            "webhook": self.webhook_url is not None,
            "mqtt": self.mqtt_host is not None,
            "opcua": self.opcua_port > 0,
        }
        return tuple(name for name, is_on in on.items() if is_on)

    @property
    def largest_body(self) -> int:
        """The largest picture that travels on the bus, in bytes; larger ones go to the archive."""
        return min(self.max_frame_bytes, self.claim_check_bytes)

    @property
    def archive_location(self) -> str:
        """Where pictures are kept: an fsspec URL or a folder."""
        return self.archive_url or str(self.data_dir.resolve() / "archive")

    @property
    def spool_folder(self) -> Path:
        """Folder of the cameras' disk spools."""
        return self.data_dir.resolve() / "spool"

    @property
    def models_folder(self) -> Path:
        """Folder of the model artifacts."""
        return self.models_dir or self.data_dir.resolve() / "models"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Args:
        overrides: Values that win over the environment and the file.

    Raises:
        SettingsError: A key is unknown, a value out of range, or the TOML file is missing or broken.
    """
    known = {CONFIG_VARIABLE} | {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable.upper() not in known and not variable.startswith(_TEST_PREFIX):
            raise SettingsError(f"unknown setting in the environment: {variable}")
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {named}, which is not a file")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {name}: {first['msg']}") from error
    except SettingsSourceError as error:  # its text names the setting, without what it was set to
        raise SettingsError(f"{error}: it is no JSON") from error
    except ValueError as error:  # tomllib's own error
        raise SettingsError(f"cannot read {named or DEFAULT_CONFIG}: {error}") from error


def settings_table() -> str:
    """Return the README's settings table, as Markdown."""
    rows = ["| setting | default | what |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else f"`{_as_written(field.default)}`"
        rows.append(f"| `{ENV_PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def _as_written(default: object) -> str:
    return json.dumps(default) if isinstance(default, dict) else str(default)


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - this is what the module is run for
