"""Options and errors that all Kafka clients share; nothing here connects."""

from pathlib import Path

import pytest
from kafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)
from kafka.record import util as kafka_checksums

from infra.bus.kafka import KafkaBusConsumer, KafkaBusProducer
from infra.bus.kafka.connection import bus_errors, connection_options, largest_message, require_fast_checksums
from infra.errors import BusAwayError, EngineError, PositionLostError, SettingsError
from infra.settings import Settings


def test_without_crc32c_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    require_fast_checksums()
    monkeypatch.setattr(kafka_checksums, "crc32c_c", None)
    for start in (
        require_fast_checksums,
        lambda: KafkaBusProducer(Settings()),
        lambda: KafkaBusConsumer(Settings(), "frames", "group"),
    ):
        with pytest.raises(EngineError, match="crc32c"):
            start()


def test_servers_are_a_list() -> None:
    options = connection_options(Settings(kafka_servers=" one:9092, two:9092,"))
    assert options["bootstrap_servers"] == ["one:9092", "two:9092"]
    with pytest.raises(SettingsError, match="names no broker"):
        connection_options(Settings(kafka_servers=" , "))


def test_tls_and_scram_come_from_the_settings(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    options = connection_options(
        Settings(
            kafka_security_protocol="SASL_SSL",
            kafka_ssl_cafile=ca,
            kafka_sasl_username="ingest",
            kafka_sasl_password="secret",
        )
    )
    assert options["security_protocol"] == "SASL_SSL"
    assert options["ssl_cafile"] == str(ca)
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "ingest")
    assert options["sasl_plain_password"] == "secret"


def test_a_password_never_stands_in_the_settings_text() -> None:
    assert "hush" not in repr(Settings(kafka_sasl_password="hush"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "ingest"},
        {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_password": "secret"},
        {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": Path("/nowhere/ca.pem")},
    ],
)
def test_settings_that_lack_something_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"kafka_(sasl|ssl)"):
        connection_options(Settings(**changes))  # type: ignore[arg-type]


def test_the_largest_frame_and_its_headers_fit() -> None:
    settings = Settings(max_frame_bytes=8 * 2**20)
    assert largest_message(settings) > 8 * 2**20
    options = KafkaBusConsumer(settings, "frames", "group")._options
    assert options["max_partition_fetch_bytes"] == largest_message(settings)
    assert options["fetch_max_bytes"] >= largest_message(settings)
    assert options["auto_offset_reset"] == "none"
    assert not options["enable_auto_commit"]
    assert KafkaBusProducer(settings)._options["max_request_size"] == largest_message(settings)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KafkaTimeoutError("too long"), "does not answer in time"),
        (KafkaConnectionError("reset"), "KafkaConnectionError"),
        (MessageSizeTooLargeError("9 MB"), "differline topics"),
        (TopicAuthorizationFailedError("frames"), "TopicAuthorizationFailedError"),
        (OSError("network unreachable"), "network unreachable"),
    ],
)
def test_what_kafka_raises_is_an_absent_bus_with_its_reason(raised: Exception, told: str) -> None:
    with pytest.raises(BusAwayError, match=told) as caught, bus_errors("send to frames"):
        raise raised
    assert "\n" not in str(caught.value)


def test_our_own_errors_pass() -> None:
    with pytest.raises(PositionLostError), bus_errors("read"):
        raise PositionLostError("gone")


def test_a_programming_error_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), bus_errors("read"):
        _ = 1 / 0
