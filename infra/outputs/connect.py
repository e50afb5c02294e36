"""Which sinks are on, by settings."""

from collections.abc import Callable

from infra.archive import open_archive
from infra.bus.kafka import KafkaPublisher
from infra.bus.topics import DEAD_LETTERS_SUFFIX
from infra.outputs.kafka import KafkaSink, Topics
from infra.outputs.mqtt import mqtt_sink
from infra.outputs.opcua import opcua_sink
from infra.outputs.relay import Rules
from infra.outputs.sink import Sink
from infra.outputs.webhook import WebhookSink, WebhookTarget
from infra.settings import Settings


def open_sinks(settings: Settings) -> list[Sink]:
    """Return a sink for each output that is set; none is connected to before its first delivery or beat.

    Raises:
        SettingsError: The settings of one contradict each other.
        EngineError: Kafka's checksums would be computed in Python.
    """
    return [_OPENED[name](settings) for name in settings.outputs]


def output_rules(settings: Settings) -> Rules:
    """Return what the settings say of all outputs."""
    return Rules(
        deadline_s=settings.verdict_deadline_s,
        silent_after_s=settings.silent_after_s,
        most_refused=settings.outputs_refused,
        keep_days=settings.outputs_keep_days,
    )


def _kafka(settings: Settings) -> Sink:
    topics = Topics(
        verdicts=settings.verdicts_topic,
        dead_letters=settings.frames_topic + DEAD_LETTERS_SUFFIX,
        largest_body=settings.largest_body,
        standing=settings.standing_topic,
    )
    archive = open_archive(settings.archive_location)
    return KafkaSink(
        KafkaPublisher(settings), KafkaPublisher(settings), archive, topics, every_s=settings.standing_every_s
    )


def _webhook(settings: Settings) -> Sink:
    url, secret = settings.webhook_url, settings.webhook_secret
    target = WebhookTarget(
        url=url.get_secret_value() if url else "",
        secrets=secret.get_secret_value() if secret else "",
        timeout_s=settings.webhook_timeout_s,
        cafile=settings.webhook_cafile,
    )
    return WebhookSink(target, every_s=settings.standing_every_s)


_OPENED: dict[str, Callable[[Settings], Sink]] = {
    "kafka": _kafka,
    "webhook": _webhook,
    "mqtt": mqtt_sink,
    "opcua": opcua_sink,
}
