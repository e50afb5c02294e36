"""The frames bus: one protocol, one module per implementation."""

from infra.bus.protocol import Consumer, Extent, Message, Observer, Partition, Producer, Publisher, Record

__all__ = ["Consumer", "Extent", "Message", "Observer", "Partition", "Producer", "Publisher", "Record"]
