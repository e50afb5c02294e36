"""Alerts: lists of them, one with its history and the frames around it, and what people do with them."""

from collections.abc import Collection

import streamlit as st

from dashboard.access import Right, needs, person
from dashboard.sources import sources
from infra.store import alert_outcomes
from infra.store import alerts as alert_store
from infra.store import verdicts as verdict_store
from infra.store.alert_outcomes import Judged
from infra.store.alerts import Alert, AlertAction, AlertFilter, AlertKey
from infra.store.models import known_products
from infra.store.tables import AlertOutcome
from infra.store.verdicts import Verdict

ALERTS_PER_PAGE = 20
MOST_AT_ONCE = 200
FRAMES_EACH_SIDE = 3


@needs(Right.SEE)
def alert_page(wanted: AlertFilter, after: AlertKey | None, limit: int = ALERTS_PER_PAGE) -> tuple[list[Alert], bool]:
    """Return one page of alerts, newest first, and whether there are older ones.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    found = alert_store.list_alerts(sources().database, wanted, after=after, limit=limit + 1)
    return found[:limit], len(found) > limit


@needs(Right.SEE)
def open_alerts() -> int:
    """Return how many alerts nobody has acknowledged.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return alert_store.count_open(sources().database)


@needs(Right.SEE)
def cameras_and_products() -> tuple[list[str], list[str]]:
    """Return the names to filter by.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _cameras_and_products()


@st.cache_data(ttl=10.0, max_entries=1, show_spinner=False)
def _cameras_and_products() -> tuple[list[str], list[str]]:
    database = sources().database
    return verdict_store.cameras(database), sorted(known_products(database))


@needs(Right.SEE)
def alert(alert_id: int) -> tuple[Alert, list[AlertAction]] | None:
    """Return one alert and what people did with it; None where there is none of that number.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    database = sources().database
    found = alert_store.alert(database, alert_id)
    return (found, alert_store.actions(database, alert_id)) if found else None


@needs(Right.SEE)
def frames_around(verdict: Verdict) -> list[Verdict]:
    """Return the verdicts of the same camera right before and after, oldest first.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    key = (verdict.camera, verdict.frame_id, verdict.received_at)
    return verdict_store.neighbours(sources().database, *key, FRAMES_EACH_SIDE)


@needs(Right.INSPECT)
def acknowledge(alert_ids: Collection[int], reason: str) -> int:
    """Acknowledge alerts in the name of who is looking, all or none.

    Returns:
        How many of them were open: of the others somebody was quicker.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long, or the alerts are more than MOST_AT_ONCE.
        LookupError: There is no such alert.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    if len(alert_ids) > MOST_AT_ONCE:
        raise ValueError(f"at most {MOST_AT_ONCE} alerts are acknowledged at once")
    return alert_store.acknowledge_many(sources().database, alert_ids, person().name, reason)


@needs(Right.INSPECT)
def resolve(alert_id: int, reason: str) -> bool:
    """Say in the name of who is looking that nothing is left to do about an alert.

    Returns:
        False where somebody was quicker.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long.
        LookupError: There is no such alert.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    return alert_store.resolve(sources().database, alert_id, person().name, reason)


@needs(Right.INSPECT)
def judge(alert_id: int, reason: str, outcome: AlertOutcome) -> Judged:
    """Resolve an alert about a DEFECT as what it turned out to be, and release or reject its picture.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long, or the alert is about something else.
        LookupError: There is no such alert.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    return alert_outcomes.judge(sources().database, alert_id, person().name, reason, outcome)
