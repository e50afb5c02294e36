"""Alerts: lists of them, one with its history, and what people do with it."""

from dashboard.access import Right, needs, person
from dashboard.sources import sources
from infra.store import alerts as alert_store
from infra.store.alerts import Alert, AlertAction, AlertFilter, AlertKey

ALERTS_PER_PAGE = 20


@needs(Right.SEE)
def alert_page(wanted: AlertFilter, after: AlertKey | None) -> tuple[list[Alert], bool]:
    """Return one page of alerts, newest first, and whether there are older ones.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    found = alert_store.list_alerts(sources().database, wanted, after=after, limit=ALERTS_PER_PAGE + 1)
    return found[:ALERTS_PER_PAGE], len(found) > ALERTS_PER_PAGE


@needs(Right.SEE)
def open_alerts() -> int:
    """Return how many alerts nobody has acknowledged.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return alert_store.count_open(sources().database)


@needs(Right.SEE)
def alert(alert_id: int) -> tuple[Alert, list[AlertAction]] | None:
    """Return one alert and what people did with it; None where there is none of that number.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    database = sources().database
    found = alert_store.alert(database, alert_id)
    return (found, alert_store.actions(database, alert_id)) if found else None


@needs(Right.INSPECT)
def acknowledge(alert_id: int, reason: str) -> bool:
    """Acknowledge an alert in the name of who is looking.

    Returns:
        False where somebody was quicker.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long.
        LookupError: There is no such alert.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    return alert_store.acknowledge(sources().database, alert_id, person().name, reason)
