from typing import Any

import cv2
import pytest
import torch

from infra.errors import SettingsError
from infra.settings import Settings
from scorer.fleet import WorkerPlan, number_of_workers, plan_workers
from scorer.threads import thread_count, use_threads


def settings(**chosen: Any) -> Settings:
    return Settings.model_construct(**chosen)


@pytest.mark.parametrize(
    ("asked", "bus", "number"), [("3", "kafka", 3), ("auto", "kafka", None), ("1", "redis", 1), ("auto", "redis", 1)]
)
def test_what_workers_says(asked: str, bus: str, number: int | None) -> None:
    assert number_of_workers(asked, bus) == number


@pytest.mark.parametrize("asked", ["0", "-1", "many", "", "1.5"])
def test_anything_but_auto_or_a_number_is_refused(asked: str) -> None:
    with pytest.raises(SettingsError, match="--workers is auto or a number from 1"):
        number_of_workers(asked, "kafka")


def test_more_than_one_scorer_on_redis_is_refused() -> None:
    with pytest.raises(SettingsError, match="--workers 2 needs DIFFERLINE_BUS=kafka"):
        number_of_workers("2", "redis")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_scorer_gets_a_gpu_and_they_share_where_there_are_too_few(device: str) -> None:
    assert [plan.device for plan in plan_workers(settings(device=device), 3, gpus=2)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [plan.device for plan in plan_workers(settings(device=device), None, gpus=2)] == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_device_that_was_named_is_kept(device: str) -> None:
    assert [plan.device for plan in plan_workers(settings(device=device), 2, gpus=4)] == [device, device]
    assert [plan.device for plan in plan_workers(settings(device=device), None, gpus=4)] == [device]


def test_without_a_gpu_auto_is_one_scorer_on_the_cpu_and_cuda_is_refused() -> None:
    assert plan_workers(settings(), None, gpus=0) == [WorkerPlan(0, "auto", 1.0, 0)]
    with pytest.raises(SettingsError, match="no CUDA device"):
        plan_workers(settings(device="cuda"), None, gpus=0)


def test_the_share_of_the_cores_is_divided_and_the_metrics_ports_follow_each_other() -> None:
    plans = plan_workers(settings(cpu_share=0.5, metrics_port=9464), 2, gpus=0)
    assert [(plan.cpu_share, plan.metrics_port) for plan in plans] == [(0.25, 9464), (0.25, 9465)]
    assert [plan.metrics_port for plan in plan_workers(settings(), 2, gpus=0)] == [0, 0]
    with pytest.raises(SettingsError, match="DIFFERLINE_METRICS_PORT=65535"):
        plan_workers(settings(metrics_port=65535), 2, gpus=0)


def test_a_scorer_reads_its_plan_as_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_workers(settings(metrics_port=9464), 3, gpus=3)[2]
    for name, value in plan.environment().items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert (read.device, read.cpu_share, read.metrics_port) == (plan.device, plan.cpu_share, plan.metrics_port)


@pytest.mark.parametrize(
    ("share", "cores", "threads"),
    [(1.0, 8, 0), (0.5, 8, 4), (0.25, 2, 1), (0.01, 4, 1), (0.99, 2, 1), (1 / 3, 3, 1), (1 / 49, 98, 2)],
)
def test_a_share_of_the_cores_becomes_threads_at_least_one(share: float, cores: int, threads: int) -> None:
    assert thread_count(settings(cpu_share=share), cores) == threads


def test_a_number_of_threads_wins_over_the_share() -> None:
    assert thread_count(settings(cpu_share=0.5, cpu_threads=3), cores=8) == 3


def test_torch_and_opencv_are_held_to_the_threads_and_left_alone_without_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(torch, "set_num_threads", lambda count: told.append(("torch", count)))
    monkeypatch.setattr(cv2, "setNumThreads", lambda count: told.append(("opencv", count)))
    use_threads(0)
    assert told == []
    use_threads(3)
    assert told == [("torch", 3), ("opencv", 3)]
