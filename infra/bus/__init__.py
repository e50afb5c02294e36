"""The frames bus: one protocol, one module per implementation."""

from infra.bus.protocol import Consumer, Message, Partition, Producer, Publisher, Record

__all__ = ["Consumer", "Message", "Partition", "Producer", "Publisher", "Record"]
