"""The watchdog of a Kafka consumer: a partition with records waiting whose position stands still."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from infra.bus.protocol import Partition


@dataclass(slots=True)
class _Standing:
    position: int
    since: float
    handed_out_then: int


class StallWatch:
    """Tells when a client should be made anew because it no longer fetches a partition.

    A slow worker is no stall: while other partitions hand out records, one that waits for its turn stands still as well. So
    as long as anything is handed out, a partition counts as stalled only after more bytes of others than a client buffers.
    """

    def __init__(self, after_s: float, buffered_bytes: int) -> None:
        """Watch nothing yet.

        Args:
            after_s: How long a position may stand still, in seconds.
            buffered_bytes: The most that a client holds fetched and not handed out.
        """
        self._after_s = after_s
        self._buffered_bytes = buffered_bytes
        self._handed_out = 0
        self._standing: dict[Partition, _Standing] = {}

    def handed_out(self, size: int) -> None:
        """Count what a poll returned, in bytes."""
        self._handed_out += size

    def look(
        self, now: float, positions: Mapping[Partition, int], ends: Mapping[Partition, int], idle: bool
    ) -> Collection[Partition]:
        """Compare where reading stands with where the partitions end.

        Args:
            now: A monotonic clock, in seconds.
            positions: Where each watched partition is read next; what is not in it is watched no longer.
            ends: One behind the last record of each.
            idle: The last poll returned nothing, so nothing is buffered.

        Returns:
            The partitions that stand still with records waiting; a restart of the client is due when there is one.
        """
        behind = {partition: at for partition, at in positions.items() if at < ends.get(partition, at)}
        self._standing = {p: known for p, known in self._standing.items() if behind.get(p) == known.position}
        stalled = []
        for partition, position in behind.items():
            known = self._standing.setdefault(partition, _Standing(position, now, self._handed_out))
            patient = idle or self._handed_out - known.handed_out_then > self._buffered_bytes
            if now - known.since >= self._after_s and patient:
                stalled.append(partition)
        return stalled

    def forget(self) -> None:
        """Start anew, after a restart of the client."""
        self._standing.clear()
