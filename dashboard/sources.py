"""Where the dashboard's data comes from: connections that are opened once per server."""

from dataclasses import dataclass
from datetime import tzinfo

import streamlit as st
from sqlalchemy import Engine

from infra.archive import Archive, open_archive
from infra.errors import SettingsError
from infra.live import LiveState
from infra.plant_time import zone_named
from infra.settings import Settings, load_settings
from infra.store.connect import open_database

_POOL = 8


@dataclass(frozen=True, slots=True)
class Sources:
    """Where everything comes from."""

    settings: Settings
    database: Engine
    live: LiveState
    archive: Archive

    @property
    def zone(self) -> tzinfo:
        """The plant's time zone."""
        return zone_named(self.settings.time_zone)


def sources() -> Sources:
    """Return the connections of this server.

    Raises:
        SettingsError: A setting is wrong, or the database or Redis is not named.
    """
    return opened()


@st.cache_resource(show_spinner=False)
def opened() -> Sources:
    """Open the connections, once; they connect when first used.

    Raises:
        SettingsError: A setting is wrong, or the database or Redis is not named.
    """
    settings = load_settings()
    if not settings.database_url or not settings.redis_url:
        raise SettingsError("start the pages with `differline dashboard`: it brings the database and Redis")
    return Sources(
        settings,
        open_database(settings.database_url, pool_size=_POOL),
        LiveState(settings.redis_url),
        open_archive(settings.archive_location),
    )
