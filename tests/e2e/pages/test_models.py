"""Models in the browser: one is promoted and rolled back, with a real trainer; who is no engineer only looks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.settings import Settings
from infra.store.models import models_in_force
from infra.store.promotions import promotions_of, set_shadow
from trainer.fit import FittedModel
from trainer.register import register, save

from ...servers import free_port
from ...small_model import PRODUCT, fitted
from .conftest import STOP_TIMEOUT_S, start

__all__ = ["fitted"]  # a fixture
from ...integration.rows import register_candidate


@pytest.fixture
def two_models(database: sa.Engine, settings: Settings, fitted: FittedModel) -> None:
    """A model in force, and a candidate in shadow that has not seen anything yet."""
    folder = Path(settings.models_folder)
    register(database, folder, fitted, "b.lang")
    rate = fitted.detector.manifest.false_alarm_rate
    register_candidate(database, replace(save(folder, fitted, "b.lang"), attainable_rate=rate))
    set_shadow(database, PRODUCT, 2, "b.lang")


@pytest.fixture
def trainer(settings: Settings, tmp_path: Path) -> Iterator[None]:
    own = {
        "DIFFERLINE_DATA_DIR": str(settings.data_dir),
        "DIFFERLINE_DATABASE_URL": settings.database_url or "",
        "DIFFERLINE_REDIS_URL": settings.redis_url or "",
        "DIFFERLINE_CPU_THREADS": "1",
        "DIFFERLINE_EXTRACTOR": "random",
        "DIFFERLINE_USER": "trainer",
    }
    command = [sys.executable, "-m", "infra", "schedule", "--only-requests"]
    with (tmp_path / "trainer.log").open("w") as log:
        run = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
        try:
            yield
        finally:
            run.send_signal(signal.SIGTERM)
            assert run.wait(STOP_TIMEOUT_S) == 0


@pytest.mark.usefixtures("two_models", "trainer")
def test_a_model_is_promoted_by_force_and_rolled_back(database: sa.Engine, url: str, page: Page) -> None:
    page.goto(f"{url}/models")
    expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
    expect(page.get_by_text("trainer running")).to_be_visible()

    page.get_by_role("button", name="Promote…").click()
    expect(page.get_by_text("nobody knows which verdicts it would change")).to_be_visible()
    page.get_by_label("Reason").fill("better on <b>cracks</b>")
    page.get_by_text("Put it in force all the same").click()
    page.get_by_role("button", name="Promote version 2", exact=True).click()
    expect(page.get_by_text("version 2 is in force", exact=True)).to_be_visible()
    assert models_in_force(database)[PRODUCT].version == 2

    page.get_by_role("button", name="Roll back…").click()  # the page has followed by itself
    page.get_by_label("Reason").fill("false alarms")
    page.get_by_role("button", name="Roll back version 2", exact=True).click()
    expect(page.get_by_text("version 1 is in force again", exact=True)).to_be_visible()
    assert models_in_force(database)[PRODUCT].version == 1
    back, forced, _ = promotions_of(database, PRODUCT)
    assert (forced.kind, forced.who, forced.reason) == ("forced", "m.weber", "better on <b>cracks</b>")
    assert (back.kind, back.who, back.reason) == ("rolled_back", "m.weber", "false alarms")


@pytest.mark.usefixtures("two_models")
def test_a_viewer_looks_and_asks_for_nothing(settings: Settings, page: Page) -> None:
    port = free_port()
    with start(settings, port, DIFFERLINE_DASHBOARD_ROLE="viewer") as command:
        assert command.stdout is not None
        command.stdout.readline()
        try:
            page.goto(f"http://127.0.0.1:{port}/models?product={PRODUCT}&version=1")
            expect(page.get_by_role("heading", name="Version 1")).to_be_visible()
            expect(page.get_by_text("No trainer is running.")).to_be_visible()
            expect(page.get_by_role("button", name="Roll back…")).to_be_disabled()
            expect(page.get_by_role("button", name="Refit now…")).to_be_disabled()
            expect(page.get_by_text("held-out pictures", exact=False).first).to_be_visible()
        finally:
            command.send_signal(signal.SIGINT)
            command.wait(STOP_TIMEOUT_S)
