"""Who is told, and when, by settings."""

from datetime import timedelta

from infra.errors import SettingsError
from infra.notices.hours import quiet_hours
from infra.notices.notifier import Rule
from infra.notices.sender import Sender
from infra.plant_time import zone_named
from infra.settings import Settings


def targets_of(settings: Settings) -> list[tuple[Sender, Rule]]:
    """Return the targets with their rules.

    Raises:
        SettingsError: There is none, one has the name of another, or Apprise cannot read a URL.
    """
    if not settings.notify_urls and not settings.escalate_urls:
        raise SettingsError(
            "nobody is to be told: set DIFFERLINE_NOTIFY_URLS, and DIFFERLINE_ESCALATE_URLS if you like"
        )
    if both := sorted(settings.notify_urls.keys() & settings.escalate_urls.keys()):
        raise SettingsError(f"the target {both[0]!r} is in DIFFERLINE_NOTIFY_URLS and in DIFFERLINE_ESCALATE_URLS")
    quiet = None if settings.quiet_hours is None else quiet_hours(settings.quiet_hours)
    group = timedelta(seconds=settings.notify_group_s)
    zone = zone_named(settings.time_zone)
    at_once = Rule(timedelta(0), group, quiet, zone)
    later = Rule(timedelta(minutes=settings.escalate_after_min), timedelta(0), quiet, zone, escalates=True)
    named = [(Sender(name, url), at_once) for name, url in settings.notify_urls.items()]
    return named + [(Sender(name, url), later) for name, url in settings.escalate_urls.items()]
