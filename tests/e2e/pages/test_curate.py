"""Frames are released, rejected and taken back by keyboard in the browser."""

from dataclasses import replace
from datetime import timedelta

import cv2
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.archive import open_archive
from infra.clock import utc_now
from infra.frames import sha256_hex
from infra.pictures import encode_jpeg
from infra.settings import Settings
from infra.store.models import register_in_force
from infra.store.tables import decisions, verdicts

from ...integration.rows import MODEL
from .seen import loaded, picture_with_a_spot

HOSTILE = "press 1 <img src=x onerror=alert(1)>"
REASON = "eye check, light as usual: gxku"  # letters that are keys


def kept_frames(database: sa.Engine, settings: Settings, frames: int) -> list[str]:
    """Frames of a line whose pictures are kept, in the order in which the page shows them; returns the pictures' hashes."""
    archive = open_archive(settings.archive_location)
    model = register_in_force(database, replace(MODEL, attainable_rate=0.02))
    pictures = []
    for number in range(frames):
        picture = cv2.putText(picture_with_a_spot(), str(number), (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 3)
        body = encode_jpeg(picture)
        at = utc_now() - timedelta(seconds=number)
        verdict = {
            "received_at": at, "frame_id": f"frame-{number}", "result_id": f"{number}", "topic": "frames", "partition": 0,
            "bus_offset": number, "camera": HOSTILE, "product": "tile", "part_id": f"MT-{number}", "captured_at": at,
            "scored_at": at, "state": "GOOD", "model_id": model.id, "score": 1.0, "p_value": 0.1 + number / 100,
            "threshold": 1.5, "views": 8, "sha256": sha256_hex(body), "archive_ref": archive.write(body),
        }  # fmt: skip
        with database.begin() as connection:
            connection.execute(sa.insert(verdicts).values(verdict))
        pictures.append(sha256_hex(body))
    return pictures


def shows(page: Page, sha256: str) -> None:
    """Wait until a frame is the current one and its keys are there, and those of the one before no longer."""
    expect(page.locator(f".st-key-curate_S_{sha256}")).to_be_visible()
    expect(page.locator("[class*=st-key-curate_S_]")).to_have_count(1)


def test_frames_are_released_rejected_and_taken_back_by_keyboard(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    pictures = kept_frames(database, settings, 6)
    page.goto(f"{url}/curate")
    shows(page, pictures[0])
    loaded(page, "current frame")
    expect(page.get_by_text("6 open · 0 in quarantine · 0 released · 0 rejected")).to_be_visible()

    page.get_by_label("Reason that stands beside").click()
    page.keyboard.type(REASON)  # keys in a field are letters
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("stText").get_by_text(REASON, exact=True)).to_be_visible()
    expect(page.get_by_text("6 open · 0 in quarantine · 0 released · 0 rejected")).to_be_visible()

    for key, following in (("g", 1), ("x", 2), ("k", 3), ("s", 4), ("g", 5), ("u", 4)):
        page.keyboard.press(key)
        shows(page, pictures[following])
    expect(page.get_by_text("3 open · 0 in quarantine · 1 released · 2 rejected")).to_be_visible()
    expect(page.get_by_test_id("stText").get_by_text(HOSTILE, exact=True)).to_be_visible()
    expect(page.locator("img[src='x']")).to_have_count(0)

    with database.connect() as connection:
        made = connection.execute(sa.select(decisions).order_by(decisions.c.id)).all()
    assert [(row.sha256, row.decision, row.challenge, row.reason) for row in made] == [
        (pictures[0], "released", False, REASON),
        (pictures[1], "rejected", False, REASON),
        (pictures[2], "rejected", True, REASON),
        (pictures[4], "released", False, REASON),
        (pictures[4], "open", False, "taken back"),
    ]
    assert {(row.who, row.camera, row.product) for row in made} == {("m.weber", HOSTILE, "tile")}


def test_a_key_that_is_hammered_decides_only_about_what_was_shown(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    pictures = kept_frames(database, settings, 6)
    page.goto(f"{url}/curate")
    shows(page, pictures[0])
    page.get_by_label("Reason that stands beside").fill(REASON)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Release", exact=False).first).to_be_enabled()
    for _ in range(3):
        page.keyboard.press("g", delay=0)
    expect(page.locator(f".st-key-curate_S_{pictures[0]}")).to_have_count(0)
    page.wait_for_timeout(500)
    with database.connect() as connection:
        made = connection.execute(sa.select(decisions.c.sha256)).all()
    assert len(made) == len({row.sha256 for row in made})
    expect(page.get_by_text(f"{len(made)} released")).to_be_visible()
    shows(page, pictures[len(made)])
