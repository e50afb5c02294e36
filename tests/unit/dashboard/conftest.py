"""Everybody is the local administrator m.weber, and there is no database; a test says otherwise where it matters."""

from collections.abc import Callable, Iterator

import pytest
import streamlit as st

from dashboard import access
from dashboard import sources as sources_module
from dashboard.access import Person
from dashboard.sources import Sources
from infra.settings import Settings
from infra.store.tables import Role

Become = Callable[[Role], None]


@pytest.fixture(autouse=True)
def become(monkeypatch: pytest.MonkeyPatch) -> Iterator[Become]:
    """Call it to be somebody else."""
    settings = Settings(database_url="postgresql://nowhere/db", redis_url="redis://nowhere", time_zone="UTC")
    sources = Sources(settings, database=None, live=None, archive=None)  # type: ignore[arg-type]
    monkeypatch.setattr(sources_module, "opened", lambda: sources)

    def be(role: Role) -> None:
        monkeypatch.setattr(access, "person", lambda **_anew: Person("m.weber", role))

    be(Role.ADMIN)
    yield be
    st.cache_data.clear()
    st.cache_resource.clear()
