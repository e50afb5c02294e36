"""The line in the browser: it moves by itself, keeps what was chosen, and does not flicker."""

import re

import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.settings import Settings

from .seen import defect, loaded

HOSTILE = "**b**<img src=x onerror=alert(1)>"


def test_a_camera_that_is_enlarged_stays_so_while_the_line_moves_and_leads_to_its_alert(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    alert_id = defect(database, settings, HOSTILE, "frame-1")
    page.goto(url)
    expect(page.get_by_role("heading", name="the camera is not well")).to_be_visible()
    page.get_by_test_id("stMain").get_by_role("button", name="Enlarge").click()
    expect(page).to_have_url(re.compile(r"/\?camera=.*img"))
    expect(page.get_by_role("button", name="Close")).to_be_visible()
    large = page.get_by_test_id("stVegaLiteChart").first
    expect(large.locator("canvas, svg").first).to_be_visible()
    loaded(page, "latest frame")
    large.locator("canvas, svg").first.evaluate("chart => chart.dataset.seen = 'before'")

    defect(database, settings, "press 2", "frame-2")  # it comes up by itself, and nothing is drawn anew
    expect(page.get_by_role("heading", name="2 of 2 cameras not well")).to_be_visible()
    expect(page.get_by_text("press 2", exact=True)).to_be_visible()
    assert large.locator("[data-seen=before]").count() == 1
    page.reload()
    expect(page.get_by_role("button", name="Close")).to_be_visible()
    expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()

    page.get_by_role("link", name="newest alert").first.click()
    expect(page).to_have_url(re.compile(rf"/alerts\?alert={alert_id}$"))
    expect(page.get_by_text(f"Alert {alert_id}")).to_be_visible()
