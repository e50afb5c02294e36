"""The topics on Kafka, made by `differline topics`: never by auto-creation, where a typing error would make one."""

from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from infra.bus.kafka.connection import bus_errors, connection_options, largest_message, open_client
from infra.errors import BusAwayError
from infra.settings import Settings

DEAD_LETTERS_SUFFIX = ".dlt"
_VERDICT_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """One topic as it should be.

    Attributes:
        name: Its name.
        partitions: At least so many; a topic never gets fewer.
        replication: Copies of each partition, where the topic is made; an existing one keeps its own.
        options: Kafka's topic options.
    """

    name: str
    partitions: int
    replication: int
    options: dict[str, str]


def planned_topics(settings: Settings) -> list[TopicPlan]:
    """Return the topics of a line: frames, their dead letters with the original message, verdicts and the standing."""
    frame = str(largest_message(settings))
    return [
        _plan(settings, settings.frames_topic, frame),
        _plan(settings, settings.frames_topic + DEAD_LETTERS_SUFFIX, frame),
        _plan(settings, settings.verdicts_topic, str(_VERDICT_BYTES)),
        _plan(settings, settings.standing_topic, str(_VERDICT_BYTES)),
    ]


def create_topics(settings: Settings) -> list[str]:
    """Make the topics, or bring them to the settings; safe to repeat.

    Returns:
        What was done, a line for each topic.

    Raises:
        BusAwayError: Kafka does not answer, or refuses; the text says why.
        SettingsError: The security settings contradict each other.
    """
    admin = open_client(KafkaAdminClient, connection_options(settings))
    try:
        with bus_errors("make the topics"):
            return [_create_or_mend(admin, plan) for plan in planned_topics(settings)]
    finally:
        admin.close()


def _plan(settings: Settings, name: str, max_bytes: str) -> TopicPlan:
    options = {
        "cleanup.policy": "delete",
        "compression.type": "uncompressed",  # whatever a foreign producer sends, a scorer needs no codec to read it
        "max.message.bytes": max_bytes,
        "message.timestamp.type": "LogAppendTime",  # `received_at` is the broker's clock, not a camera's
        "retention.bytes": "-1",  # a full disk stops the producers; it never drops a frame that was not scored
        "retention.ms": str(settings.kafka_retention_hours * 3_600_000),
    }
    return TopicPlan(name, settings.partitions, settings.kafka_replication, options)


def _create_or_mend(admin: Any, plan: TopicPlan) -> str:
    try:
        admin.create_topics(
            {
                plan.name: {
                    "num_partitions": plan.partitions,
                    "replication_factor": plan.replication,
                    "configs": plan.options,
                }
            },
            wait_for_metadata=True,
        )
    except TopicAlreadyExistsError:
        done = [*_grow(admin, plan), *_mend(admin, plan)]
        return f"{plan.name}: {'; '.join(done) or 'as it should be'}"
    return f"{plan.name}: made, with {plan.partitions} partitions"


def _grow(admin: Any, plan: TopicPlan) -> list[str]:
    (found,) = admin.describe_topics([plan.name])
    partitions = len(found["partitions"])
    if partitions == plan.partitions:
        return []
    if partitions > plan.partitions:
        return [f"keeps its {partitions} partitions, Kafka cannot go back to {plan.partitions}"]
    admin.create_partitions({plan.name: plan.partitions})
    return [f"{partitions} partitions became {plan.partitions}; a camera may move to another one once"]


def _mend(admin: Any, plan: TopicPlan) -> list[str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, plan.name)
    found = admin.describe_configs([resource], config_filter="all")["topic"][plan.name]
    wrong = {name: value for name, value in plan.options.items() if found[name]["value"] != value}
    if not wrong:
        return []
    answer = admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, plan.name, dict(wrong))])
    if answer["topic"][plan.name] != "OK":
        raise BusAwayError(f"Kafka does not change {plan.name}: {answer['topic'][plan.name]}")
    return [f"{name} was {found[name]['value']}, is {value}" for name, value in sorted(wrong.items())]
