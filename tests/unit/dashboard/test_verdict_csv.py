"""Verdicts as CSV: no formulas, times in two zones, and an end that says where it was cut off."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from dashboard.verdict_csv import verdict_csv
from infra.store.search import Found, SearchKey
from infra.store.verdicts import Verdict

from .shown import AT, VERDICT

BERLIN = ZoneInfo("Europe/Berlin")
MORE = SearchKey(AT, "cam", "frame")


def verdicts(count: int, first: int = 0) -> tuple[Verdict, ...]:
    return tuple(replace(VERDICT, frame_id=f"frame-{number}") for number in range(first, first + count))


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_a_row_has_everything_with_times_in_utc_and_of_the_plant() -> None:
    one = replace(VERDICT, camera="Prüfstand", scored_at=None, job_id=None, captured_at=AT - timedelta(seconds=0.25))
    (row,) = read(verdict_csv([Found((one,), None)], BERLIN))
    assert row["received_at_utc"] == "2026-03-01T12:00:00.000+00:00"
    assert row["received_at_plant"] == "2026-03-01T13:00:00.000+01:00"
    assert row["captured_at_plant"] == "2026-03-01T12:59:59.750+01:00"
    assert (row["scored_at_utc"], row["scored_at_plant"], row["job_id"]) == ("", "", "")
    assert (row["camera"], row["frame_id"], row["state"], row["model_version"]) == (
        "Prüfstand",
        "frame-1",
        "DEFECT",
        "3",
    )
    assert (row["score"], row["p_value"], row["threshold"]) == ("31.5", "0.0062", "21.0")


@pytest.mark.parametrize("name", ["camera", "frame_id", "part_id", "job_id", "product", "reason", "simulated"])
def test_no_text_from_outside_begins_a_formula(name: str) -> None:
    text = '=HYPERLINK("http://example.org","a,b")\n+1'
    (row,) = read(verdict_csv([Found((replace(VERDICT, **{name: text}),), None)], BERLIN))  # type: ignore[arg-type]
    assert row[name] == "'" + text


def test_a_score_below_zero_is_a_number_and_no_formula() -> None:
    (row,) = read(verdict_csv([Found((replace(VERDICT, score=-1.5),), None)], BERLIN))
    assert row["score"] == "-1.5"


def test_pages_follow_each_other_and_a_whole_export_has_no_remark() -> None:
    rows = read(
        verdict_csv([Found(verdicts(3), MORE), Found((), MORE, gave_up=True), Found(verdicts(2, 3), None)], BERLIN)
    )
    assert [row["frame_id"] for row in rows] == [f"frame-{number}" for number in range(5)]
    assert read(verdict_csv([Found((), None)], BERLIN)) == []


def endless() -> Iterator[Found]:
    for number in range(10):
        assert number < 3, "more was asked for than is needed"
        yield Found(verdicts(4, 4 * number), MORE)


def test_an_export_ends_at_its_bound_and_says_so() -> None:
    rows = read(verdict_csv(endless(), BERLIN, most_rows=10))
    assert [row["frame_id"] for row in rows[:-1]] == [f"frame-{number}" for number in range(10)]
    assert rows[-1]["received_at_utc"] == "cut off here, after 10 verdicts: older ones were not looked through"


def test_an_export_of_exactly_as_many_as_there_are_is_whole() -> None:
    assert len(read(verdict_csv([Found(verdicts(4), None)], BERLIN, most_rows=4))) == 4
    assert len(read(verdict_csv([Found(verdicts(4), MORE)], BERLIN, most_rows=4))) == 5


def test_a_search_that_gave_up_says_that_it_did() -> None:
    (last,) = read(verdict_csv([Found((), MORE, gave_up=True)], BERLIN))
    assert last["received_at_utc"].startswith("cut off here, after 0 verdicts")
