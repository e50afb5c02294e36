"""Twenty sessions that look around at once: each gets its pages. How long they wait is measured by tests/bench/dashboard.py."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from infra.settings import Settings

from ...bench.sessions import Session, look_around
from .seen import defect

PAGES = ("", "alerts", "search", "drift", "curate", "models", "health", "people")
SESSIONS = 20
LOOK_S = 30.0


def test_twenty_sessions_at_once_each_see_their_pages(database: sa.Engine, settings: Settings, url: str) -> None:
    for number in range(6):
        defect(database, settings, f"press {number % 3}", f"frame-{number}")
    address = url.replace("http://", "ws://")
    sessions = [Session(address, PAGES, 4.0, seed) for seed in range(SESSIONS)]
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright has an event loop in this thread
        first = [Session(address, (page,), 0.1, 0) for page in PAGES]
        elsewhere.submit(look_around, first, 1.0).result()  # everything is imported
        reruns = elsewhere.submit(look_around, sessions, LOOK_S).result()
    assert [rerun.page for rerun in reruns if rerun.failed] == []
    assert all(len(session.reruns) >= 3 for session in sessions)
    whole = Counter(rerun.page for rerun in reruns if not rerun.fragment)
    assert whole.keys() == set(PAGES)
    assert any(rerun.fragment for rerun in reruns)
