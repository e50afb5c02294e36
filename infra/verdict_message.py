"""A verdict as it goes to the verdicts topic: CloudEvents 1.0 in Kafka's binary mode, JSON by `schemas/verdict.v1.json`.

key               the camera, so that a camera's verdicts stay in order
ce_id             the result id: the same whenever the verdict is published again, so that consumers know a double
ce_source         /cameras/NAME, percent-encoded
ce_subject        the frame id
ce_time           when the verdict was committed
ce_type           differline.verdict.v1
ce_dataschema     the schema's name
content-type      application/json
"""

import json
import math
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, cast
from urllib.parse import quote

from infra.bus.protocol import Message
from infra.frames import SPEC_VERSION
from infra.store.outbox import PublishedVerdict

VERDICT_TYPE = "differline.verdict.v1"
SCHEMA_ID = "urn:differline:schema:verdict.v1"


def verdict_schema() -> dict[str, Any]:
    """Return the published JSON Schema of a verdict."""
    text = files("infra").joinpath("schemas", "verdict.v1.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def verdict_message(published: PublishedVerdict, topic: str) -> Message:
    """Put the message together; the same verdict gives the same bytes."""
    headers = {f"ce_{name}": text for name, text in verdict_attributes(published).items()}
    headers["content-type"] = "application/json"
    body = json.dumps(verdict_json(published), ensure_ascii=False, allow_nan=False).encode()
    key = published.verdict.camera.encode()
    return Message(topic, key, tuple((name, text.encode()) for name, text in headers.items()), body)


def verdict_attributes(published: PublishedVerdict) -> dict[str, str]:
    """Return the attributes of the CloudEvent, without those of its encoding."""
    verdict = published.verdict
    return {
        "specversion": SPEC_VERSION,
        "type": VERDICT_TYPE,
        "id": published.result_id,
        "source": "/cameras/" + quote(verdict.camera, safe=""),
        "subject": verdict.frame_id,
        "time": rfc3339(verdict.committed_at),
        "dataschema": SCHEMA_ID,
    }


def verdict_json(published: PublishedVerdict) -> dict[str, object]:
    """Return the body; its schema says what each name means."""
    verdict = published.verdict
    version = verdict.model_version
    return {
        "resultId": published.result_id,
        "partId": verdict.part_id,
        "productId": verdict.product,
        "jobId": verdict.job_id,
        "recipeId": None if version is None else f"{verdict.product}/{version}",
        "isSimulated": verdict.simulated is not None,
        "creationTime": rfc3339(verdict.committed_at),
        "processingTimes": {
            "startTime": rfc3339(verdict.received_at),
            "endTime": rfc3339(verdict.committed_at),
            "processingDuration": _duration(published),
        },
        "state": verdict.state.value,
        "reason": verdict.reason,
        "camera": verdict.camera,
        "frameId": verdict.frame_id,
        "run": published.run,
        "sequence": published.sequence,
        "frameSha256": verdict.sha256,
        "groundTruth": verdict.simulated,
        "modelVersion": version,
        "score": _finite(verdict.score),
        "pValue": _finite(verdict.p_value),
        "threshold": _finite(verdict.threshold),
        "views": verdict.views,
        "capturedTime": rfc3339(verdict.captured_at),
        "receivedTime": rfc3339(verdict.received_at),
        "scoredTime": None if verdict.scored_at is None else rfc3339(verdict.scored_at),
        "archiveRef": verdict.archive_ref,
    }


def rfc3339(at: datetime) -> str:
    """Return a time as text, in UTC and to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _duration(published: PublishedVerdict) -> float | None:
    spent = [ms for ms in (published.decode_ms, published.score_ms) if ms is not None]
    return round(sum(spent), 3) if spent else None


def _finite(value: float | None) -> float | None:
    """JSON has no NaN; a NO_VERDICT may have been stored with a score that is none."""
    return value if value is not None and math.isfinite(value) else None
