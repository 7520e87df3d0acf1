"""The chart's files: copies are up to date, and values that cannot work are refused before anything is applied."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.deploy import samples
from tests.deploy.chart import CHART, DEPLOY, SET_BY_THE_CHART, defaults, differences, names, secret_names, write
from tests.deploy.helm import HelmError, lint, render
from worker import __version__

if TYPE_CHECKING:
    from pathlib import Path

LEAST = samples.values("least")
WEBHOOK = {"enabled": True, "url": "https://hooks.example/webhooks/humanstandard"}
WITH_SECRET = LEAST["secrets"] | {"WEBHOOK_SECRET": {"name": "track-intake"}}


def test_the_copies_are_up_to_date() -> None:
    assert [str(path.relative_to(DEPLOY)) for path in differences()] == [], "run `make chart`"


def test_copies_follow_what_they_are_made_of(chart: Path, tmp_path: Path) -> None:
    """New, changed and removed files are seen; promtool's tests of the rules are no rules."""
    for name in ("alerts", "dashboards"):
        (tmp_path / name).mkdir()
    (tmp_path / "alerts" / "intake.yaml").write_text("groups: []\n")
    (tmp_path / "alerts" / "intake_test.yaml").write_text("rule_files: [intake.yaml]\ntests: []\n")
    (tmp_path / "dashboards" / "worker.json").write_text("{}")
    own = samples.copied(tmp_path / "own")
    changes = {path.name: text for path, text in differences(tmp_path, own).items()}
    assert changes["intake.yaml"] == "groups: []\n"
    assert (changes["worker.json"], changes["sample.yaml"], changes["sample_1.json"]) == ("{}", None, None)
    assert "intake_test.yaml" not in changes
    write(differences(tmp_path, own))
    assert differences(tmp_path, own) == {}
    (own / "files" / "defaults.json").write_text("{}\n")
    assert [path.name for path in differences(tmp_path, own)] == ["defaults.json"]
    assert chart.exists()


def test_a_file_that_is_neither_rules_nor_tests_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "odd.yaml").write_text("group: []\n")
    with pytest.raises(ValueError, match=r"odd\.yaml"):
        differences(tmp_path)


def test_the_chart_deploys_this_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == __version__


@pytest.mark.parametrize("case", samples.CASES)
def test_it_lints_clean(chart: Path, case: str) -> None:
    assert lint(chart, samples.values(case)) == []


def test_every_setting_has_one_way_in() -> None:
    """As a setting, as a secret, or by the chart itself."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    ways = set(schema["settings"]["properties"]) | set(schema["secrets"]["properties"]) | SET_BY_THE_CHART
    assert ways == set(names())
    assert {"HS_API_KEY", "KAFKA_SASL_PASSWORD", "KAFKA_SSL_PASSWORD", "WEBHOOK_SECRET"} <= secret_names()
    assert set(schema["settings"]["properties"]) & secret_names() <= {"KAFKA_SASL_USERNAME"}


def test_values_name_every_key_and_every_key_is_checked() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(given) == set(schema["properties"]) - {"global", "enabled"}
    assert all(value.get("type") != "object" or "additionalProperties" in value for value in parts(schema))


def parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Every part that declares names of its own."""
    inner = [part for value in schema.get("properties", {}).values() for part in parts(value)]
    return ([schema] if "properties" in schema else []) + inner


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing said": ({"settings": {}, "secrets": {}}, "KAFKA_BOOTSTRAP_SERVERS"),
    "a secret among the settings": ({"settings": LEAST["settings"] | {"HS_API_KEY": "s3cr3t"}}, "HS_API_KEY"),
    "a secret's value": ({"secrets": {"HS_API_KEY": "s3cr3t"}}, "HS_API_KEY"),
    "no name of the Secret": ({"secrets": {"HS_API_KEY": {"name": ""}}}, "HS_API_KEY"),
    "a misspelt setting": ({"settings": LEAST["settings"] | {"MAX_CONCURENCY": 9}}, "MAX_CONCURENCY"),
    "what the chart sets": ({"settings": LEAST["settings"] | {"KAFKA_GROUP_INSTANCE_ID": "a"}}, "GROUP_INSTANCE"),
    "a misspelt key": ({"replica": 3}, "replica"),
    "fewer than none": ({"replicas": -1}, "replicas"),
    "an unknown kind": ({"kind": "DaemonSet"}, "kind"),
    "no worker at all": ({"autoscaling": {"enabled": True, "minReplicas": 0}}, "minReplicas"),
    "killed while it drains": ({"terminationGracePeriodSeconds": 90}, "DRAIN_SECONDS"),
    "webhooks without a secret": ({"webhook": {"enabled": True, "url": "https://a.example"}}, "WEBHOOK_SECRET"),
    "webhooks without an address": (
        {"webhook": {"enabled": True}, "secrets": LEAST["secrets"] | {"WEBHOOK_SECRET": {"name": "a"}}},
        "webhook.url",
    ),
    "a link with an anchor": ({"prometheusRule": {"runbookBaseUrl": "https://a.example/#b"}}, "runbookBaseUrl"),
    "a link that is none": ({"prometheusRule": {"runbookBaseUrl": "README.md"}}, "runbookBaseUrl"),
    "strimzi without a cluster": ({"topics": {"mode": "strimzi"}}, "cluster"),
    "brokers without a port": ({"settings": {"KAFKA_BOOTSTRAP_SERVERS": "a:9092, kafka"}}, 'host:port.*found "kafka"'),
    "brokers with a scheme": ({"settings": {"KAFKA_BOOTSTRAP_SERVERS": "SASL_SSL://kafka:9093"}}, "host:port"),
    "a port that nobody can name": ({"settings": LEAST["settings"] | {"HTTP_PORT": 0}}, "settings.HTTP_PORT.*65535"),
    "a port by its name": ({"settings": LEAST["settings"] | {"HTTP_PORT": "http"}}, "settings.HTTP_PORT.*65535"),
    "one port for two": (
        {"settings": LEAST["settings"] | {"HTTP_PORT": 8081}, "webhook": WEBHOOK, "secrets": WITH_SECRET},
        "webhook.port and settings.HTTP_PORT are both 8081",
    ),
    "webhooks from outside, and only pods let in": (
        {"webhook": WEBHOOK | {"service": {"type": "LoadBalancer"}}, "secrets": WITH_SECRET},
        "webhookFrom has no ipBlock",
    ),
    "a secret of webhooks too early": ({"secrets": WITH_SECRET}, "WEBHOOK_SECRET without webhook.enabled"),
    "scrapes that overlap": (
        {"serviceMonitor": {"interval": "5s", "scrapeTimeout": "6000ms"}},
        r"scrapeTimeout \(6000ms\) is above serviceMonitor.interval \(5s\)",
    ),
    "fewer at most than at least": (
        {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 3}},
        r"minReplicas \(5\) is above autoscaling.maxReplicas \(3\)",
    ),
}


@pytest.mark.parametrize(("changes", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_is_refused_by_name(chart: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(HelmError, match=named):
        render(chart, LEAST | changes)


def test_a_parent_chart_may_switch_it_by_a_condition(chart: Path) -> None:
    """Helm hands the condition's value down with the others."""
    assert render(chart, samples.values("least", enabled=True)) == render(chart, samples.values("least"))


def test_webhooks_from_outside_come_in_where_their_addresses_are_named(chart: Path) -> None:
    outside = {"webhookFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}
    webhook = WEBHOOK | {"service": {"type": "LoadBalancer"}}
    assert render(chart, LEAST | {"webhook": webhook, "secrets": WITH_SECRET, "networkPolicy": outside})


@pytest.mark.parametrize(("interval", "timeout"), [("5s", "5000ms"), ("1m", "59s"), ("15s", "10s")])
def test_scrapes_that_end_in_time_are_taken(chart: Path, interval: str, timeout: str) -> None:
    times = {"enabled": True, "interval": interval, "scrapeTimeout": timeout}
    assert render(chart, LEAST | {"serviceMonitor": times})


def test_rules_and_dashboards_that_are_not_there_are_missed(chart: Path, tmp_path: Path) -> None:
    own = samples.copied(tmp_path)
    assert chart != own
    for path in (own / "files").glob("*/*"):
        path.unlink()
    for switch in ("prometheusRule", "dashboards"):
        with pytest.raises(HelmError, match="make chart"):
            render(own, LEAST | {switch: {"enabled": True}})


def test_the_defaults_are_the_workers_own() -> None:
    assert defaults()["DRAIN_SECONDS"] == "90"
    assert "HS_API_KEY" not in defaults()


def test_no_template_prints_a_secret() -> None:
    """Secrets come in by reference only, so nothing here may make one."""
    texts = [path.read_text() for path in (CHART / "templates").rglob("*.yaml")]
    assert not re.search(r"^kind: Secret$", "\n".join(texts), re.MULTILINE)
