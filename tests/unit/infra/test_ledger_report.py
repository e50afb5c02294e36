from infra.ledger_report import ledger_table
from infra.store.ledger import CameraLedger, Ledger


def line_of(table: str, camera: str) -> str:
    (line,) = [line for line in table.splitlines() if f" {camera} " in line and "camera" not in line]
    return line


def test_a_balanced_ledger_says_so() -> None:
    table = ledger_table(Ledger([CameraLedger("cam", received=3, good=2, no_verdict={"no_model": 1})]))
    assert "1 (no_model 1)" in line_of(table, "cam")
    assert "balanced" in line_of(table, "cam")
    assert table.endswith("3 of 3 frames accounted for: the ledger balances")


def test_a_gap_and_what_is_on_the_way_are_told_apart() -> None:
    gap = CameraLedger("cam-gap", received=3, good=2, missing=1)
    on_the_way = CameraLedger("cam-way", received=3, good=2, waiting=1)
    table = ledger_table(Ledger([gap, on_the_way]))
    assert "GAP" in line_of(table, "cam-gap")
    assert "on the way" in line_of(table, "cam-way")
    assert table.endswith("4 of 6 frames accounted for: THE LEDGER DOES NOT BALANCE, 1 missing")
    assert ledger_table(Ledger([on_the_way])).endswith(
        "2 of 3 frames accounted for: 1 wait on the bus, none is missing"
    )


def test_reasons_are_sorted_and_summed() -> None:
    camera = CameraLedger("cam", received=5, dead_lettered={"hash_mismatch": 1, "empty_body": 4})
    assert "5 (empty_body 4, hash_mismatch 1)" in line_of(ledger_table(Ledger([camera])), "cam")


def test_a_cameras_name_is_shown_as_it_is() -> None:
    table = ledger_table(Ledger([CameraLedger("[red]line 1[/red]", received=1, good=1), CameraLedger("")]))
    assert "[red]line 1[/red]" in table
    assert "(none named)" in table


def test_what_lies_in_spools_and_what_was_skipped_is_said() -> None:
    camera = CameraLedger("cam", received=5, good=2, waiting=1, spooled=2, skipped={"bus_away": 4})
    table = ledger_table(Ledger([camera]))
    assert "4 (bus_away 4)" in line_of(table, "cam")
    assert "on the way" in line_of(table, "cam")
    assert table.endswith("2 of 5 frames accounted for: 1 wait on the bus, 2 in spools, none is missing")
