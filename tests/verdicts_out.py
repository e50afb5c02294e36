"""Rows of the outbox as the relay hands them to a sink."""

from datetime import UTC, datetime, timedelta

from infra.outputs.sink import CameraStanding, Standing
from infra.store.outbox import OutboxKey, OutboxRow, PublishedVerdict
from infra.store.tables import VerdictState
from infra.store.verdicts import Verdict

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def verdict_row(number: int, camera: str = "cam", state: str = "GOOD", reason: str | None = None) -> OutboxRow:
    """A verdict; a later number came a second later."""
    at = NOON + timedelta(seconds=number)
    is_judged = state != "NO_VERDICT"
    verdict = Verdict(
        received_at=at,
        frame_id=f"frame {number}",
        camera=camera,
        product="tile",
        part_id=f"part {number}",
        job_id=None,
        sha256="0" * 64,
        simulated=None,
        captured_at=at,
        scored_at=at if is_judged else None,
        committed_at=at + timedelta(milliseconds=80),
        state=VerdictState(state),
        reason=reason,
        model_version=3 if is_judged else None,
        score=1.0 if is_judged else None,
        p_value=0.5 if is_judged else None,
        threshold=1.5 if is_judged else None,
        views=8 if is_judged else None,
        archive_ref=None,
    )
    content = PublishedVerdict(verdict, f"{camera}/result {number}", "run", number, 4.0, 6.5)
    return OutboxRow(OutboxKey(1, number), content)


def standing(alive: int, *cameras: CameraStanding) -> Standing:
    return Standing(
        alive,
        NOON + timedelta(seconds=alive),
        {one.camera: one for one in cameras},
        all(one.in_time for one in cameras),
    )


def in_time(camera: str, state: str = "GOOD") -> CameraStanding:
    return CameraStanding(camera, True, state, f"{camera}/result 0", NOON)


def stopped(camera: str) -> CameraStanding:
    return CameraStanding(camera, False, "NO_VERDICT", f"{camera}/result 0", NOON, "stopped")
