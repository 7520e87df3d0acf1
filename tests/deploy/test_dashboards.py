"""The dashboards: made of the code, of metrics that exist, and by the rules of Grafana's own linter."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.boards.panels import OBJECTIVE_SECONDS
from tests.deploy.dashboards import BOARDS, PLACE, VARIABLES, differences, files, write
from worker.adapters.telemetry.catalogue import CATALOGUE, PREFIX

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted(files())
PARTS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SERIES = {metric.full_name + part: metric for metric in CATALOGUE for part in PARTS[metric.kind]}
# Of the client library, and of Prometheus: about the process.
OF_THE_PROCESS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
BOTH = ('job=~"$job"', 'instance=~"$instance"')


def board(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(files()[name])
    return made


def panels(name: str) -> list[dict[str, Any]]:
    """Those that show something, in their order."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def queries(name: str) -> list[str]:
    return [target["expr"] for panel in panels(name) for target in panel["targets"]]


PANELS = [(name, panel["title"]) for name in NAMES for panel in panels(name)]


def test_the_files_are_up_to_date() -> None:
    assert [path.name for path in differences()] == [], "run `make chart`"
    assert sorted(path.name for path in PLACE.glob("*.json")) == NAMES


def test_stale_files_are_seen_and_mended(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / NAMES[0]).write_text("{}")
    assert {path.name: text is None for path, text in differences(tmp_path).items()} == {
        "old.json": True,
        **dict.fromkeys(NAMES, False),
    }
    write(differences(tmp_path))
    assert differences(tmp_path) == {}


@pytest.mark.parametrize(("name", "title"), PANELS, ids=[f"{name}: {title}" for name, title in PANELS])
def test_every_panel_says_what_it_shows(name: str, title: str) -> None:
    """Unit, meaning, a name for each series; and it asks the source, jobs and workers that were chosen."""
    [panel] = [each for each in panels(name) if each["title"] == title]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["type"] == "stat" or panel["options"]["legend"]["showLegend"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"] == panel["datasource"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_every_query_is_of_metrics_that_exist_with_labels_that_they_have(name: str) -> None:
    for expr in queries(name):
        found = re.findall(r"([a-z_]+)\{([^}]*)\}", expr)
        assert found, expr
        for series, matchers in found:
            assert all(each in matchers for each in BOTH), expr
            asked = set(re.findall(r'([a-z]+)(?:=~|!~|!=|=)"', matchers)) - {"job", "instance", "le"}
            assert series in SERIES or series in OF_THE_PROCESS, series
            assert asked <= set(SERIES[series].labels if series in SERIES else ()), expr


@pytest.mark.parametrize("name", NAMES)
def test_every_label_that_is_named_or_summed_by_is_there(name: str) -> None:
    known = {label for metric in CATALOGUE for label in metric.labels} | {"le", "instance", "job"}
    for panel in panels(name):
        for target in panel["targets"]:
            by = {label.strip() for part in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in part.split(",")}
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert by <= known, target["expr"]
            assert shown <= (by or known), (panel["title"], target["legendFormat"])


@pytest.mark.parametrize("name", NAMES)
def test_counters_are_rates_and_rates_follow_the_scrapes(name: str) -> None:
    counters = {metric.full_name for metric in CATALOGUE if metric.kind == "counter"}
    for expr in queries(name):
        for counter in counters:
            assert not re.search(rf"(?<!rate\()(?<!increase\()\b{counter}\{{", expr), expr
        assert set(re.findall(r"rate\([^\[]*\[([^\]]*)\]", expr)) <= {"$__rate_interval", "$__range"}


@pytest.mark.parametrize("name", NAMES)
def test_a_gauge_of_partitions_follows_the_topic_that_is_chosen(name: str) -> None:
    """A count of all beside the sum of the chosen ones would be a wrong share."""
    for expr in queries(name):
        for series, matchers in re.findall(r"([a-z_]+)\{([^}]*)\}", expr):
            assert ('topic=~"$topic"' in matchers) == series.startswith(f"{PREFIX}partition_"), expr


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_counts_as_nothing_where_the_labels_fit(name: str) -> None:
    """vector(0) has no labels: beside a sum by policy it is one series more, and fills no gap."""
    for expr in queries(name):
        before, found, _ = expr.partition(" or vector(0)")
        assert not (found and " by (" in before), expr


def test_waiting_for_quota_is_a_workers_own() -> None:
    """1 means always only for one worker: the sum of three reaches 3."""
    [expr] = [each for each in queries("track-intake-worker.json") if "quota_wait_seconds" in each]
    assert expr.startswith("avg by (operation)")


@pytest.mark.parametrize("name", NAMES)
def test_the_variables_are_there_and_follow_each_other(name: str) -> None:
    found = {each["name"]: each for each in board(name)["templating"]["list"]}
    assert list(found) == ["datasource", *(name for name, _, _ in VARIABLES)]
    assert (found["datasource"]["type"], found["datasource"]["query"]) == ("datasource", "prometheus")
    for variable in VARIABLES:
        each = found[variable[0]]
        assert (each["multi"], each["includeAll"], each["allValue"], each["refresh"]) == (True, True, ".+", 2)
        assert each["datasource"]["uid"] == "${datasource}"
    used = "".join(queries(name)) + "".join(query for _, _, query in VARIABLES)
    assert all(f"${each}" in used for each in ("job", "instance", "topic"))


@pytest.mark.parametrize("name", NAMES)
def test_no_panel_lies_on_another_and_none_is_wider_than_the_screen(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board(name)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_nobody_edits_them_by_hand_and_their_addresses_stay() -> None:
    made = [board(name) for name in NAMES]
    assert all(each["editable"] is False and each["schemaVersion"] >= 36 for each in made)
    assert {each["uid"] for each in made} == {f"track-intake-{name}" for name in ("intake", "worker", "bulk")}
    assert {each.uid for each in BOARDS} == {each["uid"] for each in made}


def test_titles_are_said_once_on_a_board() -> None:
    assert len(PANELS) == len(set(PANELS))


def test_the_objective_is_a_bound_of_the_histogram() -> None:
    [age] = [metric for metric in CATALOGUE if metric.name == "track_age_seconds"]
    assert OBJECTIVE_SECONDS in age.buckets
    assert PREFIX + f'track_age_seconds_bucket{{job=~"$job", instance=~"$instance", le="{OBJECTIVE_SECONDS}.0"}}' in (
        "".join(queries("track-intake-intake.json"))
    )
