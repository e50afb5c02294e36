import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dashboard import charts
from infra.store.verdicts import ScoreBucket, ScoreSeries

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def bucket(minute: int, *, highest: float | None, threshold: float | None = 20.0, defects: int = 0) -> ScoreBucket:
    lowest = None if highest is None else highest - 1
    blanks = 1 if highest is None else 0
    return ScoreBucket(NOON + timedelta(minutes=minute), lowest, highest, threshold, 3, defects, blanks)


def series(*buckets: ScoreBucket) -> ScoreSeries:
    return ScoreSeries(NOON, NOON + timedelta(minutes=15), buckets)


def table_of(of: ScoreSeries) -> pd.DataFrame:
    return charts.score_table(of, UTC)


def figure_of(of: ScoreSeries) -> dict[str, Any]:
    return charts.score_figure(of, UTC)


def test_times_are_those_of_the_plant_wherever_the_browser_is() -> None:
    table = charts.score_table(series(bucket(5, highest=10.0)), ZoneInfo("Asia/Tokyo"))
    assert table["at"].min() == (NOON + timedelta(hours=9)).timestamp() * 1000
    assert table["clock"].tolist() == ["", "21:05:00", ""]
    assert '"utc"' in json.dumps(charts.score_chart("linear"))


def test_the_table_spans_the_window_whatever_was_scored_in_it() -> None:
    table = table_of(series(bucket(5, highest=10.0)))
    assert table["at"].min() == NOON.timestamp() * 1000
    assert table["at"].max() == (NOON + timedelta(minutes=15)).timestamp() * 1000


def test_the_threshold_reaches_both_ends_and_follows_a_new_model() -> None:
    table = table_of(series(bucket(5, highest=10.0, threshold=20.0), bucket(9, highest=10.0, threshold=25.0)))
    assert list(table["threshold"]) == [20.0, 20.0, 25.0, 25.0]
    assert table["label"].dropna().tolist() == ["20"]


def test_a_defect_marks_its_bucket_and_a_blank_has_no_score() -> None:
    table = table_of(series(bucket(1, highest=31.0, defects=1), bucket(2, highest=None, threshold=None)))
    defect, blank = table.iloc[1], table.iloc[2]
    assert (defect["verdict"], defect["highest"], defect["blanks"]) == ("DEFECT", 31.0, 0)
    assert pd.isna(blank["highest"])
    assert blank["blanks"] == 1


def test_an_empty_window_is_a_table_without_a_threshold() -> None:
    table = table_of(series())
    assert len(table) == 2
    assert table["threshold"].isna().all()


@pytest.mark.parametrize(
    ("highest", "threshold", "kind"),
    [
        (30.0, 20.0, "linear"),
        (2000.0, 20.0, "log"),
        (2000.0, -20.0, "symlog"),
        (-600.0, -800.0, "linear"),
        (None, None, "linear"),
    ],
)
def test_the_axis_is_logarithmic_only_where_a_peak_would_hide_the_threshold(
    highest: float | None, threshold: float | None, kind: str
) -> None:
    ordinary = bucket(1, highest=None if highest is None else min(highest, 15.0), threshold=threshold)
    assert charts.scale_kind([ordinary, bucket(2, highest=highest, threshold=threshold)]) == kind


def test_an_update_changes_the_table_and_never_the_specification() -> None:
    """What Streamlit draws anew flickers."""
    before = figure_of(series(bucket(5, highest=10.0)))
    after = figure_of(series(bucket(5, highest=10.0), bucket(6, highest=19.0, threshold=18.0)))
    assert len(before.pop("datasets")[charts.TABLE]) < len(after.pop("datasets")[charts.TABLE])
    assert before == after


def test_what_streamlit_writes_into_a_figure_stays_in_it() -> None:
    figure_of(series())["layer"].clear()
    assert figure_of(series())["layer"]
