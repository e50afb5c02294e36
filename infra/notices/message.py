"""What people are told of alerts, as a subject and a text."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo
from urllib.parse import urlencode

from infra.printable import printable
from infra.store.notices import WaitingAlert
from infra.store.tables import AlertKind

_LISTED = 20
_WHAT = {
    AlertKind.DEFECT: "defect",
    AlertKind.DEAD_LETTERS: "too many frames cannot be judged, the scorers have stopped",
    AlertKind.LEDGER_GAP: "frames missing",
    AlertKind.CAMERA_HEALTH: "camera trouble",
    AlertKind.DRIFT: "drift",
}


def subject(alerts: Sequence[WaitingAlert], *, escalated: bool) -> str:
    """Return what a phone shows: how many of what, and of whom where there is one."""
    if len(alerts) == 1:
        (alert,) = alerts
        text = f"{_what(alert)}, {_whose(alert)}"
    else:
        kinds = Counter(_WHAT.get(_kind(alert), alert.kind) for alert in alerts)
        cameras = sorted({alert.camera for alert in alerts if alert.camera})
        text = f"{len(alerts)} alerts: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        if len(cameras) == 1:
            text += f", {cameras[0]}"
    return printable(("nobody has acknowledged: " if escalated else "") + text)


def body(alerts: Sequence[WaitingAlert], zone: tzinfo, dashboard_url: str | None) -> str:
    """Return a line or two for each alert, the first few of many; times as the plant's clocks show them."""
    lines = []
    for alert in alerts[:_LISTED]:
        lines.append(printable(f"{_moment(alert.opened_at, zone)}  {_whose(alert)}: {_what(alert)}"))
        if dashboard_url:
            lines.append("    " + _link(dashboard_url, alert=alert.id))
    if (more := len(alerts) - _LISTED) > 0:
        lines.append(f"and {more} more" + (f": {_link(dashboard_url)}" if dashboard_url else ""))
    return "\n".join(lines)


def _what(alert: WaitingAlert) -> str:
    text = _WHAT.get(_kind(alert), alert.kind)
    if alert.part_id:
        text += f", part {alert.part_id}"
    if alert.missing is not None:
        text = f"{alert.missing} {text}"
    if alert.detail:
        text += f" ({alert.detail.replace('_', ' ')})"
    return text


def _whose(alert: WaitingAlert) -> str:
    return ", ".join(name for name in (alert.camera, alert.product) if name) or "the line"


def _kind(alert: WaitingAlert) -> AlertKind:
    return AlertKind(alert.kind)


def _moment(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _link(dashboard_url: str, **query: object) -> str:
    return f"{dashboard_url.rstrip('/')}/alerts" + (f"?{urlencode(query)}" if query else "")
