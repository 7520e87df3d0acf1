"""What operators do with the chart: the values and commands of the documents, scrapes, scaling, `helm test`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.deploy import samples
from tests.deploy.chart import DEPLOY
from tests.deploy.helm import Manifest, render
from tests.deploy.kinds import VERSIONS, complaints
from tests.deploy.test_manifests import FILES, environment, of, pods, running, workload
from worker.adapters.telemetry.catalogue import CATALOGUE
from worker.settings import load

if TYPE_CHECKING:
    from pathlib import Path

    Rendered = dict[str, list[Manifest]]

GUIDE = (DEPLOY / "README.md").read_text()
THEIR_OWN = {"create": False, "name": "tracks"}


def documented() -> list[dict[str, Any]]:
    """The values that deploy/README.md shows: a cluster's, and the same with webhooks."""
    first, webhooks = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))
    return [first, {**first, **webhooks, "secrets": first["secrets"] | webhooks["secrets"]}]


@pytest.mark.parametrize("which", [0, 1], ids=["cluster", "with webhooks"])
def test_the_documented_values_work(chart: Path, which: int) -> None:
    manifests = render(chart, documented()[which])
    assert [said for each in manifests for version in VERSIONS for said in complaints(each, version)] == []
    for pod in pods(manifests):
        given = {name: value for name, value in environment(pod).items() if name not in FILES}
        settings = load(given, env_file=None).settings
        assert (settings.kafka_security_protocol, settings.tracing) == ("SASL_SSL", True)
        assert settings.kafka_sasl_username == "from-elsewhere"
        assert (settings.webhook_url is not None) == bool(which)


@pytest.mark.parametrize("document", ["README.md", "deploy/README.md"])
def test_the_documented_commands_name_what_the_chart_makes(rendered: Rendered, document: str) -> None:
    """Words like statefulset/x, pod/x and `exec x`, in the namespace and of the release that the texts use."""
    made = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in rendered["least"]}
    name = workload(rendered["least"])["metadata"]["name"]
    lines = re.findall(r"kubectl -n tracks[^`\n]*(?:\n[^`\n]+`)?", (DEPLOY.parent / document).read_text())
    assert lines
    for line in lines:
        assert set(re.findall(r"\bstatefulset/[\w-]+", line)) <= made, line
        assert set(re.findall(r"\b(?:exec|logs|delete pod|pod/) ?(intake[\w-]+)", line)) <= {f"{name}-0"}, line


def test_a_command_runs_as_whom_the_workers_run(rendered: Rendered, chart: Path) -> None:
    """So `helm test` logs in as they do. The account that the chart makes is not there yet before an installation."""
    for manifests in (*rendered.values(), render(chart, samples.values("everything", serviceAccount=THEIR_OWN))):
        account = workload(manifests)["spec"]["template"]["spec"]["serviceAccountName"]
        made = any(each["kind"] == "ServiceAccount" for each in manifests)
        for each in running(manifests):
            wanted = None if each["kind"] == "Job" and made else account
            assert pods([each])[0].get("serviceAccountName") == wanted
            assert pods([each])[0]["enableServiceLinks"] is False  # a Service named webhook would set WEBHOOK_PORT


def test_an_installation_is_a_job_and_a_pod_an_instance(rendered: Rendered) -> None:
    """Alerts and dashboards sum by job: not over releases of a namespace, nor over namespaces of a release."""
    spec = of(rendered["everything"], "ServiceMonitor")["spec"]
    assert "jobLabel" not in spec
    [endpoint] = spec["endpoints"]
    made = {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]}
    assert made == {
        "job": ["__meta_kubernetes_namespace", "__meta_kubernetes_service_name"],
        "instance": ["__meta_kubernetes_pod_name"],
    }


def test_workers_are_scaled_by_a_metric_of_theirs(rendered: Rendered) -> None:
    known = {each.full_name for each in CATALOGUE}
    for case in ("everything", "deployment"):
        scaled, found = of(rendered[case], "ScaledObject"), workload(rendered[case])
        query = scaled["spec"]["triggers"][0]["metadata"]["query"]
        assert set(re.findall(r"track_intake_\w+", query)) <= known
        assert 'namespace="tracks",service="intake-track-intake"' in query
        assert "replicas" not in found["spec"]  # they would be set back with each upgrade
        assert scaled["spec"]["scaleTargetRef"]["kind"] == found["kind"]
        assert scaled["spec"]["minReplicaCount"] >= 1


def test_scaling_waits_longer_than_a_rebalance(rendered: Rendered) -> None:
    behaviour = of(rendered["everything"], "ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"][
        "behavior"
    ]
    rebalance = load({"HS_API_KEY": "-", "KAFKA_BOOTSTRAP_SERVERS": "a:1"}, env_file=None).settings
    for step in behaviour.values():
        assert step["stabilizationWindowSeconds"] > rebalance.kafka_rebalance_timeout_seconds
        assert step["policies"][0]["periodSeconds"] > rebalance.kafka_rebalance_timeout_seconds
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] > behaviour["scaleUp"]["stabilizationWindowSeconds"]
