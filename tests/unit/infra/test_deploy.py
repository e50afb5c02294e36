"""What infra/deploy holds fits the code; its schemas are checked by infra/deploy/check-manifests."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from infra.metrics import METRICS, Kind
from infra.notify import app as notify_app
from infra.settings import ENV_PREFIX, Settings
from ingest.__main__ import app as ingest_app
from trainer.life.commands import refit_app, schedule_app

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "infra" / "deploy"
MADE_BY_PROMETHEUS = {"up"}  # one of its own for every target
DETECTOR = {"vl-convert-python", "torch", "torchvision", "triton", "freia", "sympy", "mpmath", "networkx", "differline"}
CUDA = ("nvidia-", "cuda-")
SERVICES = {"ingest", "scorer", "relay", "dashboard"}


def manifests() -> Iterator[dict[str, Any]]:
    folders = [DEPLOY / "kubernetes" / "base", *sorted((DEPLOY / "kubernetes" / "components").iterdir())]
    for path in [path for folder in folders for path in sorted(folder.glob("*.yaml"))]:
        yield from (found for found in yaml.safe_load_all(path.read_text()) if found)


def pods() -> dict[str, dict[str, Any]]:
    """The pod of each Deployment, Job and CronJob, by name."""
    found = {}
    for manifest in manifests():
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found[manifest["metadata"]["name"]] = template["spec"]
    return found


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def targets() -> set[str]:
    """The stages of the Dockerfile that are images of their own."""
    return set(re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))


def in_image(variant: str) -> set[str]:
    command = [str(DEPLOY / "image-requirements"), variant]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", listed, re.MULTILINE)}


def needed() -> set[str]:
    """Everything that differline needs to run, however far down."""
    found: set[str] = set()
    waiting = ["differline"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            wanted = [Requirement(text) for text in requires(name) or []]
            waiting += [canonicalize_name(w.name) for w in wanted if not w.marker or w.marker.evaluate({"extra": ""})]
    return found


def series_names() -> set[str]:
    """Every name that a query may use, histograms with their three series."""
    names = set(MADE_BY_PROMETHEUS)
    for metric in METRICS:
        names |= (
            {metric.name + suffix for suffix in ("_bucket", "_sum", "_count")}
            if metric.kind is Kind.HISTOGRAM
            else {metric.name}
        )
    return names


def names_in(query: str) -> set[str]:
    """The metric names of a PromQL query: whatever is ours by its name, and `up`."""
    return set(re.findall(r"\b(?:differline_\w+|up)\b", query))


def labels_in(query: str) -> set[str]:
    """The labels that a query selects or groups by."""
    grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", query)
    selected = re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)\"", query)
    return {label.strip() for group in grouped for label in group.split(",")} | set(selected)


def rule_queries() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "differline.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


@pytest.mark.parametrize("queries", [rule_queries, dashboard_queries])
def test_rules_and_dashboard_ask_for_what_is_served(queries: Callable[[], list[str]]) -> None:
    asked = queries()
    assert asked
    for query in asked:
        assert names_in(query), query
        assert names_in(query) <= series_names(), query
        allowed = {label for metric in METRICS if metric.name in query for label in metric.labels}
        assert labels_in(query) <= allowed | {"le", "job", "instance", "service"}, query


def test_each_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    used = {name for query in [*rule_queries(), *dashboard_queries()] for name in names_in(query)}
    unused = {m.name for m in METRICS if not any(name == m.name or name.startswith(m.name + "_") for name in used)}
    assert unused == set()


def test_an_image_holds_what_its_service_needs() -> None:
    wanted = needed()
    without_torch = {name for name in wanted - DETECTOR if not name.startswith(CUDA)}
    assert without_torch <= in_image("base")
    assert wanted - {"differline"} <= in_image("cuda")
    assert in_image("cpu") == {name for name in in_image("cuda") if not name.startswith(CUDA)} - {
        "torch",
        "torchvision",
        "triton",
    }


def test_an_image_holds_nothing_for_development_and_a_light_one_no_torch() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [Requirement(text) for extra in extras.values() for text in extra]
    development = {canonicalize_name(requirement.name) for requirement in wanted} - needed() - {"setuptools"}
    assert development
    for variant in ("base", "cuda", "cpu"):
        assert development & in_image(variant) == set()
    assert not [name for name in in_image("base") if name in DETECTOR or name.startswith(CUDA)]


def test_every_image_that_is_used_can_be_built() -> None:
    used = {container["image"] for pod in pods().values() for container in pod["containers"]}
    used |= {s["image"] for s in compose()["services"].values() if s["image"].startswith("differline-")}
    assert used
    assert {image.removeprefix("differline-") for image in used} <= targets()
    built = {s["build"]["target"] for s in compose()["services"].values() if "build" in s}
    assert built <= targets()


def test_every_setting_in_the_files_exists() -> None:
    files = [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *(DEPLOY / "kubernetes").rglob("*.yaml")]
    files += [*(DEPLOY / "kubernetes").rglob("*.env")]
    named = {name for path in files for name in re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)\b", path.read_text())}
    assert {name.lower() for name in named} <= set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(pods()))
def test_a_pod_has_no_rights_it_does_not_need(name: str) -> None:
    pod = pods()[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_each_service_is_probed_for_fresh_results_and_has_its_own_database_user() -> None:
    assert set(pods()) >= SERVICES
    for service in SERVICES:
        (container,) = pods()[service]["containers"]
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            assert container[probe]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        secrets = [v["valueFrom"]["secretKeyRef"] for v in container["env"]]
        (user,) = [secret["key"] for secret in secrets if secret["name"] == "differline-database"]
        assert all(secret.get("optional") for secret in secrets if secret["name"] != "differline-database")
        assert user == service


def test_no_more_scorers_than_partitions() -> None:
    (scaling,) = [m for m in manifests() if m["kind"] == "ScaledObject"]
    environment = (DEPLOY / "kubernetes" / "base" / "differline.env").read_text()
    assert f"DIFFERLINE_PARTITIONS={scaling['spec']['maxReplicaCount']}\n" in environment
    (trigger,) = scaling["spec"]["triggers"]
    assert trigger["metadata"]["topic"] == Settings.model_fields["frames_topic"].default
    assert trigger["metadata"]["consumerGroup"] == Settings.model_fields["kafka_group"].default


def test_the_refits_of_kubernetes_and_systemd_are_commands_that_there_are() -> None:
    unit = (DEPLOY / "systemd" / "differline-refit.service").read_text()
    (command,) = re.findall(r"^ExecStart=/\S+/differline (.+)$", unit, re.MULTILINE)
    (container,) = pods()["refit"]["containers"]
    for name, *options in (command.split(), container["args"]):
        assert name == "refit"
        parsed = get_command(refit_app).make_context("refit", options, resilient_parsing=False)
        assert (parsed.params["if_due"], parsed.params["product"]) == (True, ())  # of all products


def test_the_trainers_of_kubernetes_systemd_and_compose_take_requests() -> None:
    unit = (DEPLOY / "systemd" / "differline-trainer.service").read_text()
    (command,) = re.findall(r"^ExecStart=/\S+/differline (.+)$", unit, re.MULTILINE)
    (container,) = pods()["trainer"]["containers"]
    for name, *options in (command.split(), container["args"], compose()["services"]["schedule"]["command"]):
        assert name == "schedule"
        get_command(schedule_app).make_context("schedule", options, resilient_parsing=False)
    # Where something else has the clock, the trainer leaves it alone: nothing is refitted twice.
    assert "--only-requests" in command
    assert "--only-requests" in container["args"]
    (user,) = [v["valueFrom"]["secretKeyRef"]["key"] for v in container["env"]]
    assert user == "trainer"


def test_people_are_told_by_the_same_command_in_compose_systemd_and_kubernetes() -> None:
    unit = (DEPLOY / "systemd" / "differline-notify.service").read_text()
    (command,) = re.findall(r"^ExecStart=/\S+/differline (.+)$", unit, re.MULTILINE)
    service = compose()["services"]["notify"]
    (container,) = pods()["notify"]["containers"]
    assert service["command"] == container["args"] == [command] == ["notify"]
    get_command(notify_app).make_context("notify", [], resilient_parsing=False)
    assert "profiles" in service, "without targets it would end, and be started again and again"


def test_many_cameras_are_run_by_the_same_command_in_compose_and_systemd() -> None:
    unit = (DEPLOY / "systemd" / "differline-cameras.service").read_text()
    checked, command = re.findall(r"^ExecStart(?:Pre)?=/\S+/differline (.+)$", unit, re.MULTILINE)
    service = compose()["services"]["cameras"]
    assert service["command"] == command.split() == checked.split()[:-1]
    group: Any = get_command(ingest_app)
    _, name, *options = service["command"]
    group.commands[name].make_context(name, options, resilient_parsing=False)
    assert any(volume.endswith(f":{service['command'][2]}:ro") for volume in service["volumes"])


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT CHECKED: systemd-analyze is missing (Debian's package systemd), so nobody has read the units")
    units = [
        tmp_path / f"differline-{name}"
        for name in ("refit.service", "refit.timer", "trainer.service", "notify.service", "cameras.service")
    ]
    for unit in units:
        text = (DEPLOY / "systemd" / unit.name).read_text()
        unit.write_text(text.replace("/opt/differline/.venv/bin/differline", sys.executable))  # it must be there
    done = subprocess.run(["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
