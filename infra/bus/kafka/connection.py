"""What every Kafka client of ours shares: options, opening one without leftovers, errors translated once."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka.errors import (
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient
from kafka.record import util as kafka_checksums

from infra.errors import BusAwayError, DifferlineError, EngineError, SettingsError
from infra.settings import Settings

HEADER_ROOM_BYTES = 2**20  # what a message may have beside the picture: key, headers, Kafka's own framing
ANSWER_S = 5.0  # a broker that leaves a question unanswered for so long is away
_OPEN_S = 10.0
_REASONS_TOLD = 3
_REASON_AT = {"Connection failed:": 0, "Bootstrap connection to": 1}  # which argument of kafka-python's log says why

Client = TypeVar("Client")


def largest_message(settings: Settings) -> int:
    """Return the size of the largest message, in bytes: the limit of clients and topics."""
    return settings.largest_body + HEADER_ROOM_BYTES


def require_fast_checksums() -> None:
    """Refuse to go on where kafka-python would compute checksums in Python, over 200 times slower.

    Raises:
        EngineError: The package crc32c is not installed, or cannot be loaded.
    """
    if kafka_checksums.crc32c_c is None:
        raise EngineError(
            "the package crc32c is missing: Kafka's checksums would be computed in Python; install crc32c"
        )


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the options that producer, consumer and admin client share.

    Raises:
        SettingsError: The security settings contradict each other.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka_servers.split(",") if server.strip()],
        "client_id": "differline",
        "security_protocol": settings.kafka_security_protocol,
        "reconnect_backoff_ms": 50,
        "reconnect_backoff_max_ms": 1000,  # a broker that is back is noticed within a second
        "metadata_max_age_ms": 30_000,  # new partitions are noticed within half a minute
    }
    if not options["bootstrap_servers"]:
        raise SettingsError("kafka_servers names no broker")
    if settings.kafka_security_protocol in ("SSL", "SASL_SSL"):
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            path = getattr(settings, f"kafka_{name}")
            if path is not None and not path.is_file():
                raise SettingsError(f"kafka_{name} names {path}, which is not a file")
            options[name] = None if path is None else str(path)
    if settings.kafka_security_protocol.startswith("SASL"):
        if settings.kafka_sasl_username is None or settings.kafka_sasl_password is None:
            raise SettingsError(
                f"kafka_security_protocol {settings.kafka_security_protocol} needs kafka_sasl_username and kafka_sasl_password"
            )
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return options


def open_client(kind: Callable[..., Client], options: Mapping[str, Any], timeout_s: float = _OPEN_S) -> Client:
    """Make a client that has reached a broker.

    kafka-python leaves a thread behind when that fails, and says the reason only in its log: both are seen to here.

    Raises:
        BusAwayError: No broker answered within `timeout_s`; the text has the reason.
        SettingsError: The options contradict each other.
    """
    networks: list[KafkaNetClient] = []

    def network(**configs: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**configs))
        return networks[-1]

    with _reasons() as reasons:
        try:
            return kind(**options, kafka_client=network, bootstrap_timeout_ms=max(1, int(timeout_s * 1000)))
        except Exception as error:
            for opened in networks:
                opened.close()
            if isinstance(error, KafkaConfigurationError):
                raise SettingsError(f"Kafka's settings: {error}") from error
            servers = ",".join(options["bootstrap_servers"])
            reason = "; then ".join(list(dict.fromkeys(reasons))[:_REASONS_TOLD]) or str(error)
            if "sasl_mechanism" in options and "uthentication" not in reason:
                reason += " (so ends a refused user or password, too)"  # the broker's answer does not always arrive
            raise BusAwayError(f"Kafka at {servers} cannot be reached: {reason}") from error


@contextmanager
def bus_errors(doing: str) -> Iterator[None]:
    """Translate what kafka-python raises.

    Raises:
        BusAwayError: Whatever Kafka's reason: what was to be done is kept and tried again, and the text says the reason.
    """
    try:
        yield
    except DifferlineError:
        raise
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise BusAwayError(f"Kafka refuses the size, to {doing}; `differline topics` sets it: {error}") from error
    except KafkaTimeoutError as error:
        raise BusAwayError(f"Kafka does not answer in time, to {doing}: {error}") from error
    except (KafkaError, OSError) as error:
        raise BusAwayError(f"Kafka cannot {doing}: {type(error).__name__}: {error}") from error


@contextmanager
def _reasons() -> Iterator[list[str]]:
    """Listen to kafka-python's log for why a connection failed."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reason = _REASON_AT.get(record.msg.split("%", 1)[0].strip())
            if reason is not None and isinstance(record.args, tuple) and len(record.args) > reason:
                heard.append(" ".join(str(record.args[reason]).split()))

    ear = Ear(logging.WARNING)
    log = logging.getLogger("kafka.net.manager")
    log.addHandler(ear)
    try:
        yield heard
    finally:
        log.removeHandler(ear)
