"""What the chart renders: valid for two Kubernetes versions, and what the worker needs of its orchestrator."""

from __future__ import annotations

import io
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy import samples
from tests.deploy.helm import Manifest, render
from tests.deploy.kinds import VERSIONS, complaints
from tests.deploy.test_alerts import ALERTING
from worker.operations import topics
from worker.settings import Settings, load

if TYPE_CHECKING:
    from pathlib import Path

    Rendered = dict[str, list[Manifest]]


# Settings whose values are files; what they hold is not there to be looked at.
FILES = ("HS_CA_FILE", "KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE")


def of(manifests: list[Manifest], kind: str, ending: str = "") -> Manifest:
    [found] = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"].endswith(ending)]
    return found


def workload(manifests: list[Manifest]) -> Manifest:
    [found] = [each for each in manifests if each["kind"] in {"StatefulSet", "Deployment"}]
    return found


def pods(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """Specs of all pods: the workers', those of commands."""
    return [each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"] for each in running(manifests)]


def running(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in {"StatefulSet", "Deployment", "Job", "Pod"}]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    """What the worker would find; a reference as a stand-in."""
    return {each["name"]: each.get("value", "from-elsewhere") for each in pod["containers"][0]["env"]}


def mounted(pod: dict[str, Any]) -> dict[str, str]:
    """The files among the settings that lie in a volume of the pod's."""
    volumes = {each["name"] for each in pod.get("volumes", [])}
    places = [each["mountPath"] for each in pod["containers"][0].get("volumeMounts", []) if each["name"] in volumes]
    given = environment(pod)
    return {name: given[name] for name in FILES if given.get(name, "").rpartition("/")[0] in places}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", samples.CASES)
def test_every_manifest_is_valid(rendered: Rendered, case: str, version: str) -> None:
    found = {f"{each['kind']} {each['metadata']['name']}": complaints(each, version) for each in rendered[case]}
    assert {name: said for name, said in found.items() if said} == {}


def test_together_the_cases_render_every_kind(rendered: Rendered) -> None:
    assert {each["kind"] for case in rendered.values() for each in case} == {
        *("StatefulSet", "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Pod"),
        *("Job", "KafkaTopic", "Ingress", "ConfigMap", "ScaledObject", "ServiceMonitor", "PrometheusRule"),
    }


BREACHES: list[tuple[str, tuple[str, ...], object]] = [
    ("StatefulSet", ("spec", "replicas"), "two"),
    ("StatefulSet", ("spec", "template", "spec", "terminationGracePeriod"), 1),
    ("NetworkPolicy", ("spec", "egres"), []),
    ("ScaledObject", ("spec", "minReplicas"), 1),
    ("ServiceMonitor", ("spec", "endpoints"), "http"),
    ("PrometheusRule", ("spec", "group"), []),
]


@pytest.mark.parametrize(("kind", "path", "value"), BREACHES, ids=[kind + "." + path[-1] for kind, path, _ in BREACHES])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_see_a_breach(
    rendered: Rendered, kind: str, path: tuple[str, ...], value: object, version: str
) -> None:
    broken = json.loads(json.dumps(of(rendered["everything"], kind)))
    place = broken
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert complaints(broken, version)


def test_a_kind_without_a_schema_is_no_pass() -> None:
    assert complaints({"apiVersion": "apps/v1", "kind": "Nothing", "metadata": {"name": "a"}}, VERSIONS[0])


@pytest.mark.parametrize("case", samples.CASES)
def test_the_worker_understands_what_it_is_given(rendered: Rendered, case: str) -> None:
    """Every variable is a setting, and the settings load: numbers are as they were written."""
    for pod in pods(rendered[case]):
        given = environment(pod)
        others = {name for name in given if name.lower() not in Settings.model_fields}
        assert all(name.startswith("OTEL_") for name in others), others
        assert {name: given[name] for name in FILES if name in given} == mounted(pod)
        here = {name: value for name, value in given.items() if name not in FILES}
        assert load({**here, "POLICY": "two-tier"}, env_file=None).settings.kafka_bootstrap_servers
    if case == "everything":
        assert given["MAX_BUFFERED_BYTES"] == "67108864"
        assert given["COMMIT_INTERVAL_SECONDS"] == "0.2"
        assert given["ADAPTIVE_CONCURRENCY"] == "false"


@pytest.mark.parametrize("case", samples.CASES)
def test_no_pod_has_rights(rendered: Rendered, case: str) -> None:
    for pod in pods(rendered[case]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("case", samples.CASES)
def test_secrets_come_by_reference(rendered: Rendered, case: str) -> None:
    for pod in pods(rendered[case]):
        entries = {each["name"]: each for each in pod["containers"][0]["env"]}
        secret = {name for name in entries if name.endswith(("_KEY", "_PASSWORD", "_SECRET"))}
        assert "HS_API_KEY" in secret
        assert all(entries[name]["valueFrom"]["secretKeyRef"]["name"] for name in secret)
    assert not [each for each in rendered[case] if each["kind"] == "Secret"]


@pytest.mark.parametrize("case", samples.CASES)
def test_it_is_not_killed_while_it_drains(rendered: Rendered, case: str) -> None:
    pod = workload(rendered[case])["spec"]["template"]["spec"]
    drain = samples.values(case)["settings"].get("DRAIN_SECONDS", 90)
    assert pod["terminationGracePeriodSeconds"] > drain


@pytest.mark.parametrize("drain", [1, 0.5, 90, 89.5, 600, "120"])
def test_the_grace_period_follows_the_drain(chart: Path, drain: float | str) -> None:
    settings = samples.values("least")["settings"] | {"DRAIN_SECONDS": drain}
    found = workload(render(chart, samples.values("least", settings=settings)))["spec"]["template"]["spec"]
    assert found["terminationGracePeriodSeconds"] == math.ceil(float(drain)) + 30


def test_a_seat_is_the_name_of_a_pod_that_keeps_it(rendered: Rendered) -> None:
    """A StatefulSet's pod keeps its name when it is replaced; a Deployment's does not, and gets no seat."""
    seats = {}
    for case in samples.CASES:
        found = workload(rendered[case])
        entries = {each["name"]: each for each in found["spec"]["template"]["spec"]["containers"][0]["env"]}
        seats[found["kind"]] = entries.get("KAFKA_GROUP_INSTANCE_ID", {}).get("valueFrom")
    assert seats == {"StatefulSet": {"fieldRef": {"fieldPath": "metadata.name"}}, "Deployment": None}


def test_a_command_never_takes_a_workers_seat(rendered: Rendered) -> None:
    for manifests in rendered.values():
        for each in running(manifests):
            if each["kind"] in {"Job", "Pod"}:
                assert "KAFKA_GROUP_INSTANCE_ID" not in environment(pods([each])[0])


@pytest.mark.parametrize("case", samples.CASES)
def test_selectors_find_the_workers_and_only_them(rendered: Rendered, case: str) -> None:
    found = workload(rendered[case])
    labels = found["spec"]["template"]["metadata"]["labels"]
    others = [each for each in running(rendered[case]) if each is not found]
    for each in rendered[case]:
        spec = each.get("spec", {})
        for selector in (spec.get("selector"), spec.get("podSelector")):
            wanted = (selector or {}).get("matchLabels", selector) or {}
            if each["kind"] == "NetworkPolicy":
                assert all(wanted.items() <= one["metadata"]["labels"].items() for one in running(rendered[case]))
            elif each["kind"] == "ServiceMonitor":
                assert wanted.items() <= of(rendered[case], "Service", "track-intake")["metadata"]["labels"].items()
            elif wanted:
                assert wanted.items() <= labels.items()
                assert not any(wanted.items() <= other["metadata"]["labels"].items() for other in others)


@pytest.mark.parametrize("case", samples.CASES)
def test_ports_are_named_where_they_are_used(rendered: Rendered, case: str) -> None:
    container = workload(rendered[case])["spec"]["template"]["spec"]["containers"][0]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert str(ports["http"]) == environment({"containers": [container]}).get("HTTP_PORT", "8080")
    if "webhook" in ports:
        assert str(ports["webhook"]) == environment({"containers": [container]})["WEBHOOK_PORT"]
    for service in (each for each in rendered[case] if each["kind"] == "Service"):
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports.keys()
    assert [container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")] == ["/livez", "/readyz"]


def test_the_network_policy_opens_the_ports_that_the_settings_name(chart: Path) -> None:
    settings = {"KAFKA_BOOTSTRAP_SERVERS": "a:9092, b:9192,c:9092", "HS_BASE_URL": "http://proxy.example:3128/api/v1"}
    policy = of(render(chart, samples.values("least", settings=settings)), "NetworkPolicy")
    opened = [[each["port"] for each in rule["ports"]] for rule in policy["spec"]["egress"]]
    assert opened == [[53, 53], [9092, 9192], [3128]]
    assert [[each["port"] for each in rule["ports"]] for rule in policy["spec"]["ingress"]] == [["http"]]


def test_rules_and_dashboards_come_through_unchanged(rendered: Rendered) -> None:
    groups = of(rendered["everything"], "PrometheusRule")["spec"]["groups"]
    assert samples.RULES["groups"][0] in groups
    assert of(rendered["everything"], "ConfigMap", "sample-1")["data"] == {"sample_1.json": samples.DASHBOARD}


def told_by_alerts(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """The annotations of each alert, but not of the sample, which names no runbook."""
    rules = [rule for group in of(manifests, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    alerts = [rule for rule in rules if "alert" in rule and rule != samples.RULE]
    return {rule["alert"]: rule["annotations"] for rule in alerts}


def test_every_alert_leads_to_its_runbook(rendered: Rendered, chart: Path) -> None:
    """By a link where somebody has said where the README is read; by name, and by no link that leads nowhere, else."""
    base = samples.values("everything")["prometheusRule"]["runbookBaseUrl"]
    linked = told_by_alerts(rendered["everything"])
    named = told_by_alerts(render(chart, samples.values("least", prometheusRule={"enabled": True})))
    assert linked.keys() == named.keys() == ALERTING.keys()
    for name, rule in ALERTING.items():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert linked[name] == rule["annotations"] | {"runbook_url": f"{base}#{anchor}"}
        assert (named[name].get("runbook"), "runbook_url" in named[name]) == (f"{page}#{anchor}", False)


def test_strimzi_makes_the_topics_that_the_command_makes(rendered: Rendered) -> None:
    """`track-intake topics` with the same settings prints the same names, partitions and configurations."""
    given = environment(workload(rendered["deployment"])["spec"]["template"]["spec"])
    said = io.StringIO()
    topics(load(given, env_file=None).settings, said, create=False, replay=True)
    pattern = re.compile(r"--topic (\S+) --partitions (\d+)((?: --config \S+)*)")
    printed = pattern.findall(said.getvalue())
    wanted = {name: (int(count), set(re.findall(r"\S+=\S+", configs))) for name, count, configs in printed}
    specs = [each["spec"] for each in rendered["deployment"] if each["kind"] == "KafkaTopic"]
    made = {
        each["topicName"]: (each["partitions"], {f"{name}={value}" for name, value in each.get("config", {}).items()})
        for each in specs
    }
    assert made == wanted


def test_only_the_webhooks_path_is_open_to_the_world(rendered: Rendered) -> None:
    [rule] = of(rendered["everything"], "Ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/webhooks/humanstandard", "Exact")
    given = environment(workload(rendered["everything"])["spec"]["template"]["spec"])
    assert given["WEBHOOK_URL"] == f"https://{rule['host']}{path['path']}"


def test_the_least_is_small(rendered: Rendered) -> None:
    kinds = sorted(each["kind"] for each in rendered["least"])
    assert kinds == ["NetworkPolicy", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"]


@pytest.mark.parametrize(
    ("endpoint", "port"), [("http://collector.example:4318", 4318), ("https://collector.example", 443)]
)
def test_spans_have_a_way_out_where_there_is_a_collector(chart: Path, endpoint: str, port: int) -> None:
    found = render(chart, samples.values("least", tracing={"endpoint": endpoint}))
    opened = [each["port"] for rule in of(found, "NetworkPolicy")["spec"]["egress"] for each in rule["ports"]]
    assert opened[-1] == port
    variables = {
        each["name"]: each.get("value") for each in workload(found)["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert (variables["TRACING"], variables["OTEL_EXPORTER_OTLP_ENDPOINT"]) == ("true", endpoint)
