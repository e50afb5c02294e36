"""The charts of the drift page: what their tables say, and that only the tables change."""

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dashboard import drift_charts
from dashboard.charts import wall_time_ms
from dashboard.drift_charts import SCALE_ENDS, TABLE
from infra.store.rollups import RollupSeries

from .drift_seen import NEW, SINCE, UNTIL, WIDTH, bucket, history, minutes
from .shown import HOSTILE

FIGURES = [
    drift_charts.scores_figure,
    drift_charts.tests_figure,
    drift_charts.psi_figure,
    drift_charts.ks_figure,
    lambda of, zone: drift_charts.quality_figure(of, "focus", zone),
    lambda of, zone: drift_charts.quality_figure(of, "contrast", zone),
]


def rows(figure: dict[str, Any], which: str) -> pd.DataFrame:
    table = figure["datasets"][TABLE]
    return table[table["row"] == which].reset_index(drop=True)


def without_table(figure: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figure.items() if name != "datasets"}


@pytest.mark.parametrize("figure", FIGURES)
def test_the_specification_stays_while_the_data_changes(figure: Any) -> None:
    other = history(series=RollupSeries(WIDTH, ()), distances=(), tests=(), promotions=(), until=UNTIL - WIDTH)
    assert without_table(figure(history(), UTC)) == without_table(figure(other, UTC))


@pytest.mark.parametrize("figure", FIGURES)
def test_every_chart_has_the_same_ends_in_the_plants_time_and_room_for_its_axis(figure: Any) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    drawn = figure(history(), berlin)
    assert rows(drawn, "edge")["at"].tolist() == [wall_time_ms(SINCE, berlin), wall_time_ms(UNTIL, berlin)]
    axes = [layer["encoding"]["y"].get("axis") for layer in drawn["layer"] if "y" in layer["encoding"]]
    assert {(axis["minExtent"], axis["maxExtent"]) for axis in axes if axis} == {(46, 46)}


@pytest.mark.parametrize("figure", FIGURES)
def test_alarms_new_beginnings_and_models_are_marked_in_every_chart(figure: Any) -> None:
    marks = rows(figure(history(), UTC), "mark")
    assert list(zip(marks["what"], marks["label"], strict=True)) == [
        ("anew", "test begins anew: scores"),
        ("model", "version 2 in force"),
        ("alarm", "alarm: scores"),
    ]


def test_marks_in_one_place_are_one_and_a_new_model_says_that_tests_begin_anew() -> None:
    at = history().promotions[0].done_at + timedelta(minutes=1)
    tests = [minutes(121, kind, began_at=at, alarmed_at=at) for kind in ("score", "quality")]  # type: ignore[arg-type]
    marks = rows(drift_charts.tests_figure(history(tests=tuple(tests)), UTC), "mark")
    assert marks["what"].tolist() == ["model", "alarm"]
    assert marks["shown"].tolist() == ["", "alarm"]  # two names there could not be read


def test_the_calibration_lies_beside_what_its_model_judged() -> None:
    spans = rows(drift_charts.scores_figure(history(), UTC), "calibration")
    assert spans["threshold"].tolist() == [20.0, 21.0]
    assert spans["at"].tolist() == [wall_time_ms(SINCE, UTC), wall_time_ms(SINCE + 12 * WIDTH, UTC)]
    assert spans["until"].tolist() == [wall_time_ms(SINCE + 2 * WIDTH, UTC), wall_time_ms(SINCE + 14 * WIDTH, UTC)]
    assert spans["q05"].isna().tolist() == [True, False]  # the older model has none on record
    assert spans.loc[1, ["q05", "median", "q95"]].tolist() == [1.0, 3.0, 5.0]
    quality = rows(drift_charts.quality_figure(history(), "brightness", UTC), "calibration")
    assert quality[["q05", "median", "q95"]].to_numpy().tolist() == [list(NEW.quality[1] if NEW.quality else ())]


def test_a_test_that_began_anew_is_not_joined_to_the_one_before_and_stays_on_the_scale() -> None:
    test = rows(drift_charts.tests_figure(history(), UTC), "test")
    scores = test[test["series"] == "scores"]
    assert scores["segment"].tolist() == [0, 0, 1]
    assert scores["value"].tolist() == [0.5, SCALE_ENDS[1], 0.0]
    assert scores["wealth"].tolist() == [0.5, 7.0, 0.0]
    assert test[test["series"] == "pictures"]["value"].tolist() == [-0.5]


def test_distances_of_few_frames_are_pale_and_large_ones_end_at_the_top() -> None:
    psi = rows(drift_charts.psi_figure(history(), UTC), "bucket")
    assert psi["shown"].tolist() == ["few", "enough"]
    assert psi["label"].tolist() == ["0.700", "0.300"]
    ks = rows(drift_charts.ks_figure(history(), UTC), "bucket")
    assert ks[["value", "most"]].to_numpy().tolist() == [[0.2, 0.22]] * 2


def test_frames_without_a_model_have_pictures_only_and_buckets_end_with_the_time() -> None:
    unjudged = history(series=RollupSeries(WIDTH, (bucket(-1, None), bucket(20, None), bucket(143, None))), models={})
    assert rows(drift_charts.scores_figure(unjudged, UTC), "bucket").empty
    focus = rows(drift_charts.quality_figure(unjudged, "focus", UTC), "bucket")
    assert focus["median"].tolist() == [5.0] * 3
    assert focus["at"].tolist()[0] == wall_time_ms(SINCE, UTC)


@pytest.mark.parametrize("figure", FIGURES)
def test_nothing_from_outside_is_drawn(figure: Any) -> None:
    hostile = replace(history().promotions[0], product=HOSTILE, who=HOSTILE, reason=HOSTILE)
    drawn = figure(history(promotions=(hostile,)), UTC)
    assert HOSTILE not in f"{without_table(drawn)} {drawn['datasets'][TABLE].to_csv()}"


@pytest.mark.parametrize(("hours", "said"), [(8, "%H:%M"), (24, "%H:%M"), (72, "%d %b %H:%M"), (720, "%d %b")])
def test_the_axis_says_as_much_as_the_time_needs(hours: int, said: str) -> None:
    drawn = drift_charts.ks_figure(history(until=SINCE + timedelta(hours=hours)), UTC)
    assert {layer["encoding"]["x"]["axis"]["format"] for layer in drawn["layer"] if "x" in layer["encoding"]} == {said}
