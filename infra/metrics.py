"""Every metric that a service serves, with its meaning, and the registry of one program.

`infra/deploy/METRICS.md` is generated from the list (`python -m infra.metrics`), and tests compare both that page and the
names in the alert rules and the Grafana dashboard with it. infra.monitoring serves the values over HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Kind(StrEnum):
    """How a metric behaves; the words are Prometheus's."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Service(StrEnum):
    """Who serves a metric."""

    INGEST = "ingest"
    SCORER = "scorer"
    RELAY = "relay"
    DASHBOARD = "dashboard"
    NOTIFIER = "notifier"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As Prometheus sees it, with its unit; counters end in `_total`.
        service: Who serves it.
        kind: Counter, gauge or histogram.
        unit: What one of it is.
        meaning: One sentence for the person who is woken up by it.
        labels: Names of its labels; each has few values, never a frame or a part.
        buckets: Upper bounds of a histogram, in `unit`.
    """

    name: str
    service: Service
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()


HEALTHY = tuple(
    Metric(
        f"differline_{service}_healthy",
        service,
        Kind.GAUGE,
        "0 or 1",
        "1 while `/healthz` answers 200: results are fresh, or there is nothing to do.",
    )
    for service in Service
)

INGEST_ACCEPTED = Metric(
    "differline_ingest_accepted_frames_total",
    Service.INGEST,
    Kind.COUNTER,
    "frames",
    "Frames that the bus acknowledged: from here on each one must be accounted for.",
    ("camera",),
)
INGEST_REFUSED = Metric(
    "differline_ingest_refused_pictures_total",
    Service.INGEST,
    Kind.COUNTER,
    "pictures",
    "Pictures larger than the limit, which were named in the log and not sent.",
    ("camera",),
)
INGEST_WAITING = Metric(
    "differline_ingest_waiting_seconds_total",
    Service.INGEST,
    Kind.COUNTER,
    "seconds",
    "Time that frames in hand waited for a bus that was full or away.",
    ("camera",),
)
INGEST_RETRIES = Metric(
    "differline_ingest_send_retries_total",
    Service.INGEST,
    Kind.COUNTER,
    "attempts",
    "Attempts that the bus did not take, by `reason`: `full` (it stands at its bound) or `away`.",
    ("camera", "reason"),
)
INGEST_SPOOL_FRAMES = Metric(
    "differline_ingest_spool_frames",
    Service.INGEST,
    Kind.GAUGE,
    "frames",
    "Frames in a camera's disk spool: accepted, and not on the bus yet.",
    ("camera",),
)
INGEST_SPOOL_BYTES = Metric(
    "differline_ingest_spool_bytes",
    Service.INGEST,
    Kind.GAUGE,
    "bytes",
    "What they take of the spool.",
    ("camera",),
)
INGEST_SPOOL_LIMIT = Metric(
    "differline_ingest_spool_limit_bytes",
    Service.INGEST,
    Kind.GAUGE,
    "bytes",
    "What a camera's spool may hold; a full one stops a triggered camera, and a camera that runs freely skips frames.",
    ("camera",),
)
INGEST_SKIPPED = Metric(
    "differline_ingest_skipped_frames_total",
    Service.INGEST,
    Kind.COUNTER,
    "frames",
    "Frames that a camera could not hand in, by `reason`: `bus_away` (and the spool full, or none) or `camera_away`.",
    ("camera", "reason"),
)
INGEST_HTTP_ANSWERS = Metric(
    "differline_ingest_http_answers_total",
    Service.INGEST,
    Kind.COUNTER,
    "posts",
    "Answers to frames that were posted by HTTP, by `status`: 202 was accepted, 429 is to be sent again, others never were.",
    ("status",),
)

SCORER_FRAMES = Metric(
    "differline_scorer_frames_total",
    Service.SCORER,
    Kind.COUNTER,
    "frames",
    "Verdicts in committed batches, by `state`: GOOD, DEFECT or NO_VERDICT; those of duplicates are among them.",
    ("state",),
)
SCORER_DEAD_LETTERS = Metric(
    "differline_scorer_dead_letters_total",
    Service.SCORER,
    Kind.COUNTER,
    "frames",
    "Frames in committed batches that cannot be judged, by `reason`.",
    ("reason",),
)
SCORER_DUPLICATES = Metric(
    "differline_scorer_duplicate_frames_total",
    Service.SCORER,
    Kind.COUNTER,
    "frames",
    "Frames that had been accounted for before and were not written again.",
)
SCORER_BATCH = Metric(
    "differline_scorer_batch_frames",
    Service.SCORER,
    Kind.HISTOGRAM,
    "frames",
    "Frames of a committed batch, over all cameras.",
    buckets=BATCH_BUCKETS,
)
SCORER_STAGE = Metric(
    "differline_scorer_stage_seconds_total",
    Service.SCORER,
    Kind.COUNTER,
    "seconds",
    "Where the time goes, by `stage`: decode, views, features, flow, heatmap, write.",
    ("stage",),
)
SCORER_LATENCY = Metric(
    "differline_scorer_latency_seconds",
    Service.SCORER,
    Kind.HISTOGRAM,
    "seconds",
    "From the capture of a frame to its committed verdict; the camera's clock counts.",
    buckets=LATENCY_BUCKETS_S,
)
SCORER_WAITING = Metric(
    "differline_scorer_waiting_frames",
    Service.SCORER,
    Kind.GAUGE,
    "frames",
    "Frames on the bus that this scorer still has to judge, in the partitions that are its own.",
)
SCORER_PARTITIONS = Metric(
    "differline_scorer_partitions",
    Service.SCORER,
    Kind.GAUGE,
    "partitions",
    "Partitions of the frames topic that are this scorer's own.",
)
SCORER_FENCED = Metric(
    "differline_scorer_fenced_batches_total",
    Service.SCORER,
    Kind.COUNTER,
    "batches",
    "Batches that were rolled back because another scorer had taken a partition.",
)
SCORER_AWAY = Metric(
    "differline_scorer_server_away",
    Service.SCORER,
    Kind.GAUGE,
    "0 or 1",
    "1 while the scorer waits for a `server`, `database` or `bus`, that does not answer.",
    ("server",),
)
SCORER_DRIFT = Metric(
    "differline_scorer_drift_log10_wealth",
    Service.SCORER,
    Kind.GAUGE,
    "powers of ten",
    "How strongly a camera's frames of a product speak against no drift, by `kind`: score or quality; 2 and above has alarmed. "
    "Shown by the scorers that judge the camera, as of their last look, for 500 cameras and products at most.",
    ("camera", "product", "kind"),
)

RELAY_PUBLISHED = Metric(
    "differline_relay_published_messages_total",
    Service.RELAY,
    Kind.COUNTER,
    "messages",
    "Verdicts and dead letters that the peer of an output acknowledged; one that was sent twice counts twice.",
    ("sink",),
)
RELAY_REFUSED = Metric(
    "differline_relay_refused_messages_total",
    Service.RELAY,
    Kind.COUNTER,
    "messages",
    "Messages that the peer refused for ever; they are on record, `differline outputs` shows them and sends them again.",
    ("sink",),
)
RELAY_WAITING = Metric(
    "differline_relay_waiting_messages",
    Service.RELAY,
    Kind.GAUGE,
    "messages",
    "Rows of the outbox that an output was not sent yet, looked up twice a minute by the relay that has its turn.",
    ("sink",),
)
RELAY_OLDEST = Metric(
    "differline_relay_oldest_seconds",
    Service.RELAY,
    Kind.GAUGE,
    "seconds",
    "Age of the oldest of them, looked up as often.",
    ("sink",),
)
RELAY_AWAY = Metric(
    "differline_relay_sink_away",
    Service.RELAY,
    Kind.GAUGE,
    "0 or 1",
    "1 while the peer of an output, or the database before it, takes nothing and is tried again.",
    ("sink",),
)
RELAY_LATE = Metric(
    "differline_relay_late_verdicts_total",
    Service.RELAY,
    Kind.COUNTER,
    "verdicts",
    "Verdicts that the peer of an output had later than `DIFFERLINE_VERDICT_DEADLINE_S` after the bus had the frame.",
    ("sink", "camera"),
)
RELAY_IN_TIME = Metric(
    "differline_relay_verdicts_in_time",
    Service.RELAY,
    Kind.GAUGE,
    "0 or 1",
    "1 while the verdicts of every camera that sends frames reach the output in time; 0: the output says NO_VERDICT for some.",
    ("sink",),
)

NOTIFIER_MESSAGES = Metric(
    "differline_notifier_messages_total",
    Service.NOTIFIER,
    Kind.COUNTER,
    "messages",
    "Messages about alerts that a `target` took; one message may tell of many.",
    ("target",),
)
NOTIFIER_TOLD = Metric(
    "differline_notifier_told_alerts_total",
    Service.NOTIFIER,
    Kind.COUNTER,
    "alerts",
    "Alerts that a `target` was told of.",
    ("target",),
)
NOTIFIER_FAILED = Metric(
    "differline_notifier_failed_attempts_total",
    Service.NOTIFIER,
    Kind.COUNTER,
    "attempts",
    "Attempts that failed: the `target`'s server is away or refuses, or PostgreSQL is away; what was due waits.",
    ("target",),
)
NOTIFIER_WAITING = Metric(
    "differline_notifier_waiting_alerts",
    Service.NOTIFIER,
    Kind.GAUGE,
    "alerts",
    "Open alerts that a `target` was not told of yet, looked up twice a minute; of an escalation also those that are not due.",
    ("target",),
)

METRICS: tuple[Metric, ...] = (
    *HEALTHY,
    INGEST_ACCEPTED,
    INGEST_REFUSED,
    INGEST_WAITING,
    INGEST_RETRIES,
    INGEST_SPOOL_FRAMES,
    INGEST_SPOOL_BYTES,
    INGEST_SPOOL_LIMIT,
    INGEST_SKIPPED,
    INGEST_HTTP_ANSWERS,
    SCORER_FRAMES,
    SCORER_DEAD_LETTERS,
    SCORER_DUPLICATES,
    SCORER_BATCH,
    SCORER_STAGE,
    SCORER_LATENCY,
    SCORER_WAITING,
    SCORER_PARTITIONS,
    SCORER_FENCED,
    SCORER_AWAY,
    SCORER_DRIFT,
    RELAY_PUBLISHED,
    RELAY_REFUSED,
    RELAY_WAITING,
    RELAY_OLDEST,
    RELAY_AWAY,
    RELAY_LATE,
    RELAY_IN_TIME,
    NOTIFIER_MESSAGES,
    NOTIFIER_TOLD,
    NOTIFIER_FAILED,
    NOTIFIER_WAITING,
)


class Metrics:
    """The values of one service's metrics, in a registry of their own."""

    def __init__(self, service: Service) -> None:
        """Start every metric of the service that has no labels at zero."""
        # a second series of each counter, which no rule uses
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.service = service
        self.registry = CollectorRegistry()
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for metric in METRICS:
            if metric.service is service:
                self._add(metric)

    def _add(self, metric: Metric) -> None:
        match metric.kind:
            case Kind.COUNTER:
                self._counters[metric] = Counter(metric.name, metric.meaning, metric.labels, registry=self.registry)
            case Kind.GAUGE:
                self._gauges[metric] = Gauge(metric.name, metric.meaning, metric.labels, registry=self.registry)
            case Kind.HISTOGRAM:
                self._histograms[metric] = Histogram(
                    metric.name, metric.meaning, metric.labels, registry=self.registry, buckets=metric.buckets
                )

    def count(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter.

        Raises:
            KeyError: It is no counter of this service.
            ValueError: The labels are not those of the metric, or the amount is negative.
        """
        counter = self._counters[metric]
        (counter.labels(**labels) if metric.labels else counter).inc(amount)

    def show(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge.

        Raises:
            KeyError: It is no gauge of this service.
            ValueError: The labels are not those of the metric.
        """
        gauge = self._gauges[metric]
        (gauge.labels(**labels) if metric.labels else gauge).set(value)

    def observe(self, metric: Metric, value: float) -> None:
        """Add a value to a histogram.

        Raises:
            KeyError: It is no histogram of this service.
        """
        self._histograms[metric].observe(value)


def metrics_page() -> str:
    """Return `infra/deploy/METRICS.md`."""
    rows = [
        "# Metrics",
        "",
        "Generated by `python -m infra.metrics > infra/deploy/METRICS.md`; a test compares the two. Each service serves its",
        "own on `/metrics` of `DIFFERLINE_METRICS_PORT`, beside `/healthz`.",
        "",
        "| metric | service | kind | labels | unit | meaning |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(
            f"| `{metric.name}` | {metric.service} | {metric.kind} | {labels} | {metric.unit} | {metric.meaning} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(metrics_page())  # noqa: T201 - this is what the module is run for
