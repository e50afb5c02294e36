from pathlib import Path

import pytest

from dashboard import server
from infra.engines import Engines
from infra.settings import Settings

ENGINES = Engines("postgresql://db/differline", "redis://live")


def test_the_pages_find_what_was_started_for_them(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    found = server.environment({"HOME": "/home/x", "DIFFERLINE_DATABASE_URL": "other"}, settings, ENGINES)
    assert found == {
        "HOME": "/home/x",
        "DIFFERLINE_DATABASE_URL": "postgresql://db/differline",
        "DIFFERLINE_REDIS_URL": "redis://live",
        "DIFFERLINE_ARCHIVE_URL": str(tmp_path / "archive"),
        "DIFFERLINE_DASHBOARD_HOST": "127.0.0.1",
        "DIFFERLINE_DASHBOARD_PORT": "8501",
    }


def test_the_server_listens_where_it_is_told_and_reports_to_nobody() -> None:
    command = server.command_line("127.0.0.1", 8600)
    for flag in (
        "--server.address=127.0.0.1",
        "--server.port=8600",
        "--server.headless=true",
        "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none",
    ):
        assert flag in command
    script = Path(command[command.index("run") + 1])
    assert script.is_file()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8501"),
        ("0.0.0.0", "http://127.0.0.1:8501"),
        ("::", "http://[::1]:8501"),
        ("plant.example", "http://plant.example:8501"),
    ],
)
def test_the_address_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert server.address(host, 8501) == url
