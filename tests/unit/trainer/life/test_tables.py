from datetime import UTC, datetime

from infra.store.second_verdicts import ChangedVerdict
from infra.store.tables import FrameDecision, SecondSource, VerdictState
from trainer.life.tables import changed_table

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
GOOD, DEFECT = VerdictState.GOOD, VerdictState.DEFECT


def changed(part: str, before: VerdictState = GOOD, after: VerdictState = DEFECT) -> ChangedVerdict:
    scores = (1.0, 2.0, 0.01)
    return ChangedVerdict(
        NOON, "cam", "frame", part, "0" * 64, before, after, *scores, SecondSource.REPLAY, FrameDecision.OPEN
    )


def test_what_comes_from_outside_reaches_a_terminal_as_text() -> None:
    table = changed_table([changed("[bold]7[/bold]\x1b]0;gotcha\x07\n8")])
    assert "\x1b" not in table
    assert "\x07" not in table
    assert "[bold]7[/bold]" in table.replace("\n", "")


def test_parts_that_would_be_rejected_come_first_and_how_many_are_left_out_is_said() -> None:
    rows = [changed("let go", DEFECT, GOOD), *(changed(f"part {number}") for number in range(60))]
    table = changed_table(rows)
    assert "61 verdicts differ, 60 of them would be rejected now; 50 are shown" in table
    assert "let go" not in table
    assert changed_table([]) == "no verdict differs"
