"""The alert rules: of metrics that exist, each with a runbook in the README and a scenario in which it fires."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adapters.sample_facts import FACTS, telemetry
from tests.deploy.boards.bulk import BULK
from tests.deploy.boards.intake import INTAKE
from tests.deploy.boards.panels import OBJECTIVE_SECONDS
from tests.deploy.boards.worker import WORKER
from tests.deploy.chart import DEPLOY, rule_files
from worker.adapters.telemetry.catalogue import CATALOGUE, PREFIX

ALERTS = DEPLOY / "alerts"
[RULES] = rule_files(DEPLOY)
TEXT = RULES.read_text()
GROUPS: list[dict[str, Any]] = yaml.safe_load(TEXT)["groups"]
EVERY = [rule for group in GROUPS for rule in group["rules"]]
ALERTING = {rule["alert"]: rule for rule in EVERY if "alert" in rule}
RECORDED = {rule["record"] for rule in EVERY if "record" in rule}
SCENARIOS = sorted(ALERTS.glob("*_test.yaml"))
README = (Path(__file__).parents[2] / "README.md").read_text()
OF_THE_PROCESS = {"process_start_time_seconds"}
NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing (make prometheus; Debian: apt-get install prometheus)"
)


def anchors() -> set[str]:
    """The README's headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ALERTING)
def test_every_alert_says_what_it_is_and_where_to_read_on(name: str) -> None:
    rule = ALERTING[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "README.md"
    assert anchor in anchors()


def test_the_documented_command_gives_every_alert_a_link() -> None:
    [command] = re.findall(r"^    (sed .*)$", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    done = subprocess.run(
        shlex.split(command), cwd=DEPLOY.parent, capture_output=True, text=True, check=True, timeout=10
    )
    rules = [rule for group in yaml.safe_load(done.stdout)["groups"] for rule in group["rules"]]
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert links.keys() == ALERTING.keys()
    for name, link in links.items():
        assert link == f"https://git.example/track-intake/{ALERTING[name]['annotations']['runbook_url']}"


def test_the_readme_says_of_every_alert_what_to_do() -> None:
    section = README.partition("\n### Alerts\n")[2].partition("\n### ")[0]
    assert set(re.findall(r"`(TrackIntake\w+)`", section)) == set(ALERTING)


def test_what_the_runbooks_name_is_there_under_that_name() -> None:
    """Metrics, rows of dashboards and commands: whoever is woken types them as they stand."""
    section = README.partition("\n### Alerts\n")[2].partition("\n### ")[0]
    metrics = set(re.findall(r"`(\w+_(?:total|seconds|info|ratio|records))\b", section))
    assert metrics
    assert metrics <= {metric.full_name.removeprefix(PREFIX) for metric in CATALOGUE}
    rows = {row.title for board in (INTAKE, WORKER, BULK) for row in board.rows}
    named = set(re.findall(r'"([A-Z][^"]*\?)"', " ".join(section.split())))
    assert named
    assert named <= rows
    commands = set(re.findall(r"track-intake ([a-z-]+)", section))
    assert {"explain", "check", "dead-letters", "decide-again"} <= commands
    said = subprocess.run(
        [sys.executable, "-m", "worker", "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    assert all(re.search(rf"^    {each}\b", said.stdout, re.MULTILINE) for each in commands), commands


def test_every_rule_is_of_metrics_that_exist() -> None:
    parts = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    known = {metric.full_name + part for metric in CATALOGUE for part in parts[metric.kind]}
    for rule in EVERY:
        named = set(re.findall(rf"\b(?:{PREFIX}|process_)\w+\b(?!:)", rule["expr"]))
        assert named <= known | OF_THE_PROCESS, rule
        assert set(re.findall(r"\btrack_intake:[\w:]+", rule["expr"])) <= RECORDED, rule


def test_the_objectives_minutes_stand_in_one_place_and_are_a_bound() -> None:
    [age] = [metric for metric in CATALOGUE if metric.name == "track_age_seconds"]
    [bound] = re.findall(r'le="([\d.]+)"', TEXT)
    assert float(bound) in age.buckets
    assert float(bound) == OBJECTIVE_SECONDS
    named = re.findall(r"\d+\.0", TEXT.partition("bound of the histogram: ")[2].partition("\n")[0])
    assert {float(each) for each in named} <= set(age.buckets)


def test_every_alert_has_a_scenario_in_which_it_fires() -> None:
    fired = set(re.findall(r"alertname=\"(\w+)\"[^\n]*\n\s+value: 1", "".join(map(Path.read_text, SCENARIOS))))
    assert fired == set(ALERTING)


@NEEDS_PROMTOOL
def test_metrics_lint_clean() -> None:
    told, _ = telemetry()
    for fact in FACTS:
        told(fact)
    done = promtool("check", "metrics", given=told.exposition("")[0].decode())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@NEEDS_PROMTOOL
def test_prometheus_takes_the_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMTOOL
@pytest.mark.parametrize("scenarios", SCENARIOS, ids=lambda path: path.name)
def test_alerts_fire_in_their_scenarios_and_in_no_other(scenarios: Path) -> None:
    done = promtool("test", "rules", str(scenarios))
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMTOOL
def test_a_rule_that_is_wrong_is_seen(tmp_path: Path) -> None:
    """The scenarios fail where a threshold, a window or a filter is another."""
    scenario = next(path for path in SCENARIOS if path.name == "track-intake_test.yaml")
    (tmp_path / scenario.name).write_text(scenario.read_text())
    changes = (
        ('state="running"}) == 0', 'state="running"}) == -1', "NotDeciding"),
        ('state="closed"}) == 0', 'state="closed"}) == 2', "BreakerOpen"),
        ("dead_letters_total[15m])) > 0", "dead_letters_total[15m])) > 2", "DeadLetters"),
        ("> 0.9\n", "> 1.9\n", "QuotaExhausted"),
        ('outcome="published"}[15m])) == 0', 'outcome="published"}[15m])) == 9', "WebhooksRefused"),
        ("on (namespace, job, instance)", "on (namespace, job, instance, version)", "CrashLoop"),
        ("for: 2m", "for: 2h", "LateFast"),
        ("jobs_open == 0", "jobs_open == 1", "OldestRecordTooOld"),
        ("avg_over_time(up[10m]) < 0.5", "avg_over_time(up[10m]) < 0", "WorkerDown"),
    )
    wrong = TEXT
    for old, new, _ in changes:
        assert old in wrong, old
        wrong = wrong.replace(old, new)
    (tmp_path / RULES.name).write_text(wrong)
    done = promtool("test", "rules", str(tmp_path / scenario.name))
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert [name for *_, name in changes if f'exp: {{alertname="TrackIntake{name}"}}' not in said] == []


def promtool(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], input=given, capture_output=True, text=True, check=False, timeout=100)
