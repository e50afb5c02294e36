"""Search in the browser: from an alert to what it stands on, and what was found taken away as CSV."""

import csv
import re

import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.settings import Settings

from .seen import defect, loaded

HOSTILE = "=1+<img src=x onerror=alert(1)>"


def test_one_click_leads_from_an_alert_to_what_its_verdict_stands_on(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    alert_id = defect(database, settings, HOSTILE, "frame-1")
    page.goto(f"{url}/alerts?alert={alert_id}")
    page.get_by_role("link", name="Trace").click()
    expect(page.get_by_text("tile version 1, preset compact")).to_be_visible()
    expect(page.get_by_text(re.compile(r"defect, opened .* CES?T, nobody has acknowledged it"))).to_be_visible()
    loaded(page, "frame")
    expect(page.locator("img[src='x']")).to_have_count(0)
    page.get_by_role("link", name=f"Alert {alert_id}").click()
    expect(page.get_by_role("button", name="False alarm")).to_be_visible()


def test_what_was_found_is_taken_away_as_csv_without_a_formula(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    for number in (1, 2):
        defect(database, settings, HOSTILE, f"frame-{number}")
    page.goto(f"{url}/search")
    page.get_by_label("Frame").fill("frame-2")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(re.compile(r"frame=frame-2"))
    expect(page.get_by_text("1 verdict, and no older ones")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["frame_id"], row["camera"], row["state"]) == ("frame-2", "'" + HOSTILE, "DEFECT")
    assert row["received_at_utc"].endswith("+00:00")
    assert row["received_at_plant"][-6:] in ("+01:00", "+02:00")
