"""Cells of a CSV that no spreadsheet takes for a formula."""

import pytest

from infra.spreadsheet import cell, text_of

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", '=HYPERLINK("http://x")', "=", "-"]
HARMLESS = ["", "MT-00012", "a=b", "'quoted'", "'", " =1", "1.5", "ä", "''"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_as_a_formula_does_not_begin_so_in_its_cell(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert cell(text) == text
    assert text_of(text) == text


@pytest.mark.parametrize("text", [*FORMULAS, *HARMLESS, "'=1", "''=1", "'-"])
def test_what_was_written_is_read_again(text: str) -> None:
    assert text_of(cell(text)) == text
