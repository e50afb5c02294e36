"""What the tests of the pages share: hostile texts, a verdict, and what a page shows."""

from datetime import UTC, datetime, timedelta

import numpy as np
from streamlit.testing.v1 import AppTest

from infra.store.alerts import Alert
from infra.store.tables import AlertState, VerdictState
from infra.store.verdicts import Verdict

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = "**b**<img src=x onerror=alert(1)>"
VERDICT = Verdict(
    received_at=AT, frame_id="frame-1", camera=HOSTILE, product="tile", part_id="MT-7", job_id=None, sha256="0" * 64,
    simulated=None, captured_at=AT, scored_at=AT, committed_at=AT, state=VerdictState.DEFECT, reason=None, model_version=3,
    score=31.5, p_value=0.0062, threshold=21.0, views=8, archive_ref="aa/1",
)  # fmt: skip
PICTURE = np.full((40, 60, 3), 90, np.uint8)


def alert_of(number: int, state: AlertState = AlertState.OPEN) -> Alert:
    at = AT + timedelta(seconds=number)
    return Alert(number, "defect", HOSTILE, "tile", AT, "frame-1", state, at, VERDICT)


def texts(page: AppTest) -> list[str]:
    return [element.value for element in page.text]


def marked_up(page: AppTest) -> str:
    """Everything that the browser would read as Markdown."""
    return "\n".join(
        element.value for element in (*page.markdown, *page.caption, *page.info, *page.warning, *page.error)
    )
