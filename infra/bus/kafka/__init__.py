"""The frames bus on Apache Kafka: any number of readers, positions in PostgreSQL, kafka-python underneath.

A partition is Kafka's, an offset is Kafka's, `received_at` is the broker's clock (`message.timestamp.type=LogAppendTime`,
which `differline topics` sets): a producer's wrong clock changes nothing. A key goes to the partition that Kafka's own
murmur2 says, so Java clients agree with us, and kcat does with `-X topic.partitioner=murmur2_random`. What is acknowledged
is on the brokers; a message whose answer was lost may be there twice and is recognised by camera and id. Kafka keeps messages
for their retention time, read or not: there is no bound at which a producer waits, and `done_until` only shows the lag.
"""

from infra.bus.kafka.consumer import KafkaBusConsumer
from infra.bus.kafka.producer import KafkaBusProducer
from infra.bus.kafka.publisher import KafkaPublisher

__all__ = ["KafkaBusConsumer", "KafkaBusProducer", "KafkaPublisher"]
