"""The frames bus: one protocol, one module per implementation."""

from infra.bus.protocol import Consumer, Partition, Producer, Record

__all__ = ["Consumer", "Partition", "Producer", "Record"]
