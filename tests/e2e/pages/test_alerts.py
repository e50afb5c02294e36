"""Alerts in the browser: seen, opened, acknowledged."""

import re

import numpy as np
import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.settings import Settings
from infra.store.tables import alert_actions, alerts, decisions

from .seen import coloured, defect, loaded, shown

HOSTILE = "**b**<img src=x onerror=alert(1)>"
HEADER_PX, ROW_PX = 36, 33


def open_row(page: Page, row: int) -> None:
    """Click a row of the list: it is drawn on a canvas, so by its place."""
    table = page.get_by_test_id("stDataFrame")
    expect(table.locator("canvas").first).to_be_visible()
    table.click(position={"x": 60, "y": HEADER_PX + ROW_PX * row + ROW_PX // 2})


def test_a_defect_is_seen_opened_and_acknowledged(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    page.goto(url)
    expect(page.get_by_text("No frames yet")).to_be_visible()

    alert_id = defect(database, settings, "press 1", "frame-1")  # the open page finds it by itself
    expect(page.get_by_text("press 1", exact=True)).to_be_visible()
    expect(page.locator(".stMarkdownBadge", has_text="DEFECT")).to_be_visible()
    expect(page.get_by_text("score 31.5, threshold 21")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    loaded(page, "latest frame")

    page.get_by_role("link", name="1 open alert").click()
    open_row(page, 0)
    expect(page).to_have_url(re.compile(rf"/alerts\?.*alert={alert_id}$"))
    expect(page.get_by_text(f"Alert {alert_id}")).to_be_visible()
    loaded(page, "frame")
    loaded(page, "heatmap")
    assert coloured(shown(page, "frame")).sum() == 0
    rows, columns = np.nonzero(coloured(shown(page, "heatmap")))
    assert (rows.mean(), columns.mean()) == pytest.approx((90, 200), abs=5)  # the heat lies on the spot
    for fact in ("press 1", "31.5", "0.0062", "MT-7", "version 1", "frame-1"):
        expect(page.get_by_test_id("stText").get_by_text(fact, exact=True)).to_be_visible()

    page.get_by_label("Reason").fill("spot of <i>grease</i>, wiped off")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_text(re.compile(r"^acknowledged by m\.weber, \d{4}-.* CES?T$"))).to_be_visible()
    expect(page.get_by_text("spot of <i>grease</i>, wiped off", exact=True)).to_be_visible()
    expect(page.get_by_text("No open alerts.")).to_be_visible()
    with database.connect() as connection:
        state = connection.scalar(sa.select(alerts.c.state).where(alerts.c.id == alert_id))
        action = connection.execute(sa.select(alert_actions)).one()
    assert state == "acknowledged"
    assert (action.alert_id, action.action, action.who) == (alert_id, "acknowledge", "m.weber")
    assert action.reason == "spot of <i>grease</i>, wiped off"


def test_the_strength_of_the_heat_changes_the_heatmap_and_not_the_frame(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    alert_id = defect(database, settings, "press 1", "frame-1")
    page.goto(f"{url}/alerts?alert={alert_id}")  # a link to one alert can be shared
    loaded(page, "frame")
    loaded(page, "heatmap")
    frame, heatmap = (page.get_by_role("img", name=name, exact=True) for name in ("frame", "heatmap"))
    before = (frame.get_attribute("src"), heatmap.get_attribute("src"))
    page.get_by_role("slider").press("Home")
    expect(heatmap).not_to_have_attribute("src", before[1] or "")
    assert frame.get_attribute("src") == before[0]


def test_a_name_from_outside_is_shown_as_it_is(database: sa.Engine, settings: Settings, url: str, page: Page) -> None:
    alert_id = defect(database, settings, HOSTILE, "frame-1")
    page.goto(url)
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    page.goto(f"{url}/alerts?alert={alert_id}")
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_an_alert_that_opens_meanwhile_does_not_take_the_place_of_the_opened_one(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    first = defect(database, settings, "press 1", "frame-1")
    page.goto(f"{url}/alerts")
    open_row(page, 0)
    expect(page.get_by_text(f"Alert {first}")).to_be_visible()
    second = defect(database, settings, "press 2", "frame-2")
    expect(page.get_by_text("2 are open")).to_be_visible()
    expect(page.get_by_text(f"Alert {first}")).to_be_visible()
    open_row(page, 0)
    expect(page.get_by_text(f"Alert {second}")).to_be_visible()


def test_a_false_alarm_is_resolved_and_its_picture_released(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    alert_id = defect(database, settings, HOSTILE, "frame-1")
    page.goto(f"{url}/alerts?alert={alert_id}")
    page.get_by_label("Reason").fill("a hair")
    page.get_by_role("button", name="False alarm").click()
    expect(page.get_by_text(re.compile(r"^resolved as a false alarm by m\.weber, "))).to_be_visible()
    expect(page.get_by_role("button", name="False alarm")).to_have_count(0)
    with database.connect() as connection:
        outcome = connection.scalar(sa.select(alerts.c.outcome).where(alerts.c.id == alert_id))
        made = connection.execute(sa.select(decisions)).one()
    assert (outcome, made.decision, made.reason) == (
        "false_alarm",
        "released",
        f"alert {alert_id}, false alarm: a hair",
    )


def test_several_are_filtered_selected_and_acknowledged_at_once(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    other = defect(database, settings, "press 2", "frame-0")
    for number in (1, 2, 3):
        defect(database, settings, HOSTILE, f"frame-{number}")
    page.goto(f"{url}/alerts")
    page.get_by_label("Camera").click()
    page.get_by_role("option", name=HOSTILE, exact=True).click()
    expect(page).to_have_url(re.compile(r"camera=%2A%2Ab%2A%2A"))
    page.get_by_text("Select several").click()
    table = page.get_by_label("alerts to choose from, newest first").or_(page.get_by_test_id("stDataFrame")).first
    expect(table.locator("canvas").first).to_be_visible()
    expect(page.get_by_role("button", name="Acknowledge", exact=True)).to_be_visible()
    table.click(position={"x": 16, "y": HEADER_PX // 2})  # all of them
    page.get_by_label("Reason for all of them").fill("lamp replaced")
    page.get_by_role("button", name="Acknowledge 3 alerts").click()
    expect(page.get_by_text("None here.")).to_be_visible()
    expect(page.locator("img[src='x']")).to_have_count(0)
    with database.connect() as connection:
        still = connection.scalars(sa.select(alerts.c.id).where(alerts.c.state == "open")).all()
        done = connection.execute(sa.select(alert_actions.c.who, alert_actions.c.reason)).all()
    assert still == [other]
    assert [tuple(row) for row in done] == [("m.weber", "lamp replaced")] * 3
