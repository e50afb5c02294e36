"""TLS and SCRAM against a real SASL_SSL listener, with a certificate authority made here."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from infra.bus.kafka import KafkaBusConsumer, KafkaBusProducer
from infra.bus.topics import create_topics
from infra.errors import BusAwayError
from infra.settings import Settings

from ..kafka_server import KafkaServer, running_kafka
from ..servers import free_port

pytestmark = pytest.mark.kafka
USER, PASSWORD = "line-user", "a password with spaces"


SECURE_LISTENER = """
listeners=PLAINTEXT://127.0.0.1:{server.port},SECURE://127.0.0.1:{port},CONTROLLER://127.0.0.1:{server.raft_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{server.port},SECURE://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={pem}
"""


@dataclass(frozen=True, slots=True)
class SecureBroker:
    """A broker with a SASL_SSL listener beside its own."""

    address: str
    ca: Path


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    folder = tmp_path_factory.mktemp("secure")
    authority, port = trustme.CA(), free_port()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "broker.pem").write_bytes(keystore(authority.issue_cert("127.0.0.1")))

    def secure_listener(server: KafkaServer) -> str:
        return SECURE_LISTENER.format(server=server, port=port, pem=folder / "broker.pem")

    with running_kafka(secure_listener, LOCAL_KAFKA_SCRAM=f"{USER}={PASSWORD}"):
        yield SecureBroker(f"127.0.0.1:{port}", folder / "ca.pem")


def keystore(certificate: trustme.LeafCert) -> bytes:
    """Key and chain in one PEM file; Kafka reads PKCS #8 only."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pkcs8 + b"".join(blob.bytes() for blob in certificate.cert_chain_pems)


def settings(broker: SecureBroker, **changes: object) -> Settings:
    chosen = {
        "bus": "kafka",
        "kafka_servers": broker.address,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ssl_cafile": broker.ca,
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "frames_topic": "frames-" + uuid.uuid4().hex,
        **changes,
    }
    return Settings(**chosen)  # type: ignore[arg-type]


def test_frames_go_through_tls_and_scram(broker: SecureBroker) -> None:
    chosen = settings(broker)
    create_topics(chosen)
    with closing(KafkaBusProducer(chosen)) as producer:
        producer.send(chosen.frames_topic, b"cam", (("ce_id", b"1"),), bytes(2**20), 20)
    for group in (None, "scorers"):
        with closing(KafkaBusConsumer(chosen, chosen.frames_topic, group)) as consumer:
            while not consumer.assigned():
                consumer.poll(1, 0.5)
            for partition in consumer.assigned():
                consumer.seek_to_beginning(partition)
            while not (records := consumer.poll(1, 1.0)):
                pass
            assert (len(records[0].value), records[0].headers) == (2**20, (("ce_id", b"1"),))


def every_client(chosen: Settings) -> list[Callable[[], object]]:
    return [
        lambda: create_topics(chosen),
        lambda: KafkaBusProducer(chosen).send(chosen.frames_topic, b"cam", (), b"", 2),
        lambda: KafkaBusConsumer(chosen, chosen.frames_topic, None).assigned(),
    ]


def test_a_wrong_password_is_refused_with_its_reason(broker: SecureBroker) -> None:
    for use in every_client(settings(broker, kafka_sasl_password="guess")):
        with pytest.raises(BusAwayError, match=r"(?i)authentication|refused user") as caught:
            use()
        assert "guess" not in str(caught.value)


def test_a_broker_of_another_authority_is_refused(broker: SecureBroker, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    for use in every_client(settings(broker, kafka_ssl_cafile=tmp_path / "other.pem")):
        with pytest.raises(BusAwayError, match=r"(?i)certificate"):
            use()


def test_a_broker_under_another_name_is_refused(broker: SecureBroker) -> None:
    address = broker.address.replace("127.0.0.1", "localhost")
    with pytest.raises(BusAwayError, match=r"(?i)certificate|hostname"):
        create_topics(settings(broker, kafka_servers=address))


def test_plain_text_does_not_pass_the_secure_listener(broker: SecureBroker) -> None:
    with pytest.raises(BusAwayError):
        create_topics(settings(broker, kafka_security_protocol="PLAINTEXT"))
