from pathlib import Path

import pytest
from prometheus_client import generate_latest

from infra.metrics import (
    INGEST_ACCEPTED,
    METRICS,
    SCORER_BATCH,
    SCORER_FRAMES,
    SCORER_WAITING,
    Kind,
    Metrics,
    Service,
    metrics_page,
)

DEPLOY = Path(__file__).parents[3] / "infra" / "deploy"


def served(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_names_are_unique_and_say_what_they_are() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith(f"differline_{metric.service}_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        if metric.unit == "seconds":
            assert "_seconds" in metric.name


def test_the_page_is_generated_from_the_list() -> None:
    assert (DEPLOY / "METRICS.md").read_text() == metrics_page() + "\n"


def test_a_service_serves_its_own_metrics_only() -> None:
    text = served(Metrics(Service.SCORER))
    assert "differline_scorer_waiting_frames 0.0" in text
    assert "differline_ingest" not in text


def test_values_carry_their_labels() -> None:
    metrics = Metrics(Service.SCORER)
    metrics.count(SCORER_FRAMES, 2, state="GOOD")
    metrics.count(SCORER_FRAMES, state="GOOD")
    metrics.show(SCORER_WAITING, 7)
    metrics.observe(SCORER_BATCH, 3)
    text = served(metrics)
    assert 'differline_scorer_frames_total{state="GOOD"} 3.0' in text
    assert "differline_scorer_waiting_frames 7.0" in text
    assert 'differline_scorer_batch_frames_bucket{le="2.0"} 0.0' in text
    assert 'differline_scorer_batch_frames_bucket{le="4.0"} 1.0' in text


def test_two_programs_in_one_process_do_not_share_values() -> None:
    first, second = Metrics(Service.SCORER), Metrics(Service.SCORER)
    first.show(SCORER_WAITING, 7)
    assert "differline_scorer_waiting_frames 0.0" in served(second)


def test_mistakes_are_refused() -> None:
    metrics = Metrics(Service.SCORER)
    with pytest.raises(ValueError, match="label"):
        metrics.count(SCORER_FRAMES, stat="GOOD")
    with pytest.raises(KeyError):
        metrics.count(INGEST_ACCEPTED, camera="oven")
    with pytest.raises(KeyError):
        metrics.show(SCORER_FRAMES, 1)
