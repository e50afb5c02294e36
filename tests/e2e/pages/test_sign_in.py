"""Who may do what, with people who sign in at a real OIDC provider."""

import re
import signal
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.settings import Settings
from infra.store import role_limits
from infra.store.tables import Role, alert_actions, alerts

from ...servers import free_port
from .conftest import STOP_TIMEOUT_S, start
from .provider import BELIEVED_S, Provider, provider
from .seen import defect


@pytest.fixture
def sso() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture
def plant(settings: Settings, sso: Provider) -> Iterator[str]:
    """A dashboard at which people sign in."""
    port = free_port()
    with start(settings, port, **sso.settings) as command:
        try:
            assert command.stdout is not None
            command.stdout.readline()
            yield f"http://127.0.0.1:{port}"
        finally:
            command.send_signal(signal.SIGINT)
            command.wait(STOP_TIMEOUT_S)


def sign_in(page: Page, url: str, name: str) -> None:
    page.goto(url)
    expect(page.get_by_text("Sign in to see the line.")).to_be_visible()
    page.get_by_role("button", name="Sign in").click()
    page.get_by_placeholder("sub").fill(name)
    page.get_by_role("button", name="Authorize").click()


def test_a_shared_link_is_still_followed_after_the_sign_in(
    database: sa.Engine, settings: Settings, sso: Provider, plant: str, page: Page
) -> None:
    alert_id = defect(database, settings, "press 1", "frame-1")
    sso.says("paul", "differline-viewer")
    sign_in(page, f"{plant}/alerts?alert={alert_id}", "paul")
    expect(page.get_by_text(f"Alert {alert_id}")).to_be_visible()
    expect(page).to_have_url(f"{plant}/alerts?alert={alert_id}")
    page.goto(plant)  # and once only
    expect(page.get_by_text("press 1", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(rf"^{plant}/?$"))


def alert_state(database: sa.Engine, alert_id: int) -> tuple[str, list[str]]:
    with database.connect() as connection:
        state = connection.execute(sa.select(alerts.c.state).where(alerts.c.id == alert_id)).scalar_one()
        return state, list(connection.scalars(sa.select(alert_actions.c.who)))


def test_each_may_what_the_provider_says_and_no_more(
    database: sa.Engine, settings: Settings, sso: Provider, plant: str, page: Page
) -> None:
    alert_id = defect(database, settings, "press 1", "frame-1")
    sso.says("paul", "some-other-role")
    sign_in(page, plant, "paul")
    expect(page.get_by_text("you are signed in and have no role here", exact=False)).to_be_visible()
    expect(page.get_by_text("press 1")).to_have_count(0)

    sso.says("paul", "differline-viewer")  # the page looks by itself
    expect(page.get_by_text("press 1", exact=True)).to_be_visible()
    expect(page.get_by_text("paul@plant.example · viewer")).to_be_visible()
    page.goto(f"{plant}/alerts?alert={alert_id}")
    expect(page.get_by_text(f"Alert {alert_id}")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_count(0)

    sso.says("paul", "differline-inspector")
    page.reload()
    page.get_by_label("Reason").fill("wiped off")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_text(re.compile(r"^acknowledged by paul@plant\.example, "))).to_be_visible()
    assert alert_state(database, alert_id) == ("acknowledged", ["paul@plant.example"])


def test_a_role_that_is_taken_away_is_gone_at_the_next_rerun(
    database: sa.Engine, settings: Settings, sso: Provider, plant: str, page: Page
) -> None:
    alert_id = defect(database, settings, "press 1", "frame-1")
    sso.says("paul", "differline-inspector")
    sign_in(page, plant, "paul")
    page.goto(f"{plant}/alerts?alert={alert_id}")
    page.get_by_label("Reason").fill("wiped off")

    sso.says("paul", "differline-viewer", believed=False)  # the form is still open in the browser
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_label("Reason")).to_have_count(0)
    expect(page.get_by_text("paul@plant.example · viewer")).to_be_visible()
    assert alert_state(database, alert_id) == ("open", [])

    sso.says("paul", "differline-inspector")
    role_limits.limit_role(database, "paul@plant.example", Role.NONE, who="chief", reason="badge lost")
    time.sleep(BELIEVED_S)
    page.reload()
    expect(page.get_by_text("you are signed in and have no role here", exact=False)).to_be_visible()
    role_limits.limit_role(
        database, "paul@plant.example", Role.ADMIN, who="chief", reason="badge found"
    )  # the page looks by itself
    expect(page.get_by_text(f"Alert {alert_id}")).to_be_visible()

    sso.throws_out("paul")
    page.reload()
    expect(page.get_by_text("Sign in to see the line.")).to_be_visible()
    expect(page.get_by_text(f"Alert {alert_id}")).to_have_count(0)
