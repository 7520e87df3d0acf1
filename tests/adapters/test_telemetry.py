"""Facts become metrics and lines: each exactly once, bounded labels, no secret, whatever a library logs."""

from __future__ import annotations

import io
import logging
import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from worker.adapters.telemetry import Telemetry
from worker.adapters.telemetry.catalogue import CATALOGUE, PER_PARTITION, PREFIX
from worker.adapters.telemetry.logs import EVENTS, MASK, LibraryMessages, scrub
from worker.flow.faults import FAULTS
from worker.pipeline import facts as f

if TYPE_CHECKING:
    from collections.abc import Iterator

LANE = f.LaneStatus(
    topic="track-submitted",
    partition=3,
    suspended=False,
    paused=True,
    watermark=100,
    highest_completed=None,
    queued=1,
    in_flight=2,
    retrying=3,
    unpublished=4,
    buffered_bytes=5000,
    oldest_seconds=1.5,
    metadata_used=0.25,
)
STATUS = f.WorkerStatus("running", (LANE,), 2, 64, "key_refused", "401", 0.5)
DECIDED = f.TrackDecided(
    topic="track-submitted",
    partition=3,
    offset=101,
    decision_id="6f1c7b86-5a4b-5d0e-8d6e-0123456789ab",
    item_id="item-101",
    decision="approve",
    reason=None,
    policy="two-tier",
    policy_digest="abc",
    output_topic="track-approve",
    status="success",
    tiers=MappingProxyType({"press_safe": "not_evaluated", "human_safe": "human", "recall": "human"}),
    error=None,
    job_id="job-1",
    attempts=2,
    analysis_seconds=45.5,
    queued_seconds=0.25,
)
FACTS: tuple[f.Fact, ...] = (
    f.RecordsReceived(3, 10, 2000),
    f.CallFinished("submit", "throttled", 0.2),
    f.RetryScheduled(3, 101, "throttled", 1, 2.0),
    f.BoughtAgain(3, 101, "outcome_unknown"),
    DECIDED,
    f.DeadLettered(3, 102, "not_json", ""),
    f.CommitFinished(3, "committed", 7, 0.036),
    f.CommitFinished(3, "fenced", 9, 0.1, "ProducerFenced"),
    f.RebalanceFinished(2, 3, 1, 0.4),
    f.LaneSealed(3, "moved", 2),
    f.AdmissionHeld("key_refused", "401"),
    f.AdmissionResumed("key_refused", 12.5),
    f.Stopping("SIGTERM"),
    f.Stopped(0, 1.0),
)


def telemetry(
    level: str = "debug", layout: str = "json", status: f.WorkerStatus = STATUS
) -> tuple[Telemetry, io.BytesIO]:
    stream = io.BytesIO()
    return Telemetry(lambda: status, "9.9", level, layout, stream), stream


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def samples(told: Telemetry) -> dict[tuple[str, tuple[str, ...]], float]:
    """Our samples of a scrape by name (without prefix) and label values, in the order of the labels' names."""
    return {
        (sample.name.removeprefix(PREFIX), tuple(sample.labels.values())): sample.value
        for family in families(told.exposition("")[0].decode())
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


def test_the_facts_above_are_all_there_are() -> None:
    assert {type(fact) for fact in FACTS} == set(get_args(f.Fact)) == set(EVENTS)


def test_each_fact_adds_to_its_metrics_and_to_no_other() -> None:
    told, _ = telemetry()
    for fact in FACTS:
        told(fact)
    found = samples(told)
    expected = {
        ("records_received_total", ()): 10,
        ("received_bytes_total", ()): 2000,
        ("api_calls_total", ("submit", "throttled")): 1,
        ("api_call_duration_seconds_sum", ("submit",)): 0.2,
        ("retries_total", ("throttled",)): 1,
        ("analyses_bought_again_total", ("outcome_unknown",)): 1,
        ("decisions_total", ("approve", "two-tier", "none", "track-approve")): 1,
        ("analyses_total", ("success",)): 1,
        ("tier_outcomes_total", ("press_safe", "not_evaluated")): 1,
        ("tier_outcomes_total", ("human_safe", "human")): 1,
        ("tier_outcomes_total", ("recall", "human")): 1,
        ("track_attempts_sum", ()): 2,
        ("analysis_duration_seconds_sum", ()): 45.5,
        ("queue_wait_seconds_sum", ()): 0.25,
        ("dead_letters_total", ("not_json",)): 1,
        ("commits_total", ("committed",)): 1,
        ("commits_total", ("fenced",)): 1,
        ("commit_duration_seconds_sum", ("committed",)): 0.036,
        ("commit_duration_seconds_sum", ("fenced",)): 0.1,
        ("messages_published_total", ()): 7,
        ("rebalances_total", ()): 1,
        ("rebalance_duration_seconds_sum", ()): 0.4,
        ("lanes_assigned_total", ("opened",)): 2,
        ("lanes_assigned_total", ("kept",)): 3,
        ("lanes_assigned_total", ("lost",)): 1,
        ("lanes_sealed_total", ("moved",)): 1,
        ("calls_dropped_total", ("moved",)): 2,
        ("admission_holds_total", ("key_refused",)): 1,
        ("admission_held_seconds_total", ("key_refused",)): 12.5,
    }
    counted = {key: value for key, value in found.items() if key[0].endswith(("_total", "_sum"))}
    assert counted == expected


def test_every_metric_of_the_catalogue_is_scraped_under_its_name() -> None:
    told, _ = telemetry()
    for fact in FACTS:
        told(fact)
    shown = {name for name, _ in samples(told)}
    for metric in CATALOGUE:
        name = metric.full_name.removeprefix(PREFIX)
        # Highest completed is None in this status: unknown is left out, not zero.
        present = f"{name}_bucket" if metric.kind == "histogram" else name
        assert (present in shown) == (name != "partition_highest_completed_offset"), name


def test_names_are_unique_and_say_what_to_do() -> None:
    names = [metric.full_name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    assert all(metric.meaning.endswith(".") and metric.action.endswith(".") for metric in CATALOGUE)
    assert all(list(metric.buckets) == sorted(set(metric.buckets)) for metric in CATALOGUE)


def test_every_number_of_a_lane_is_shown() -> None:
    shown = {"topic", "partition", *PER_PARTITION}
    assert shown == set(f.LaneStatus.__dataclass_fields__)


def test_the_gauges_are_the_status_at_the_scrape() -> None:
    found = samples(telemetry()[0])
    assert {state for (name, (state, *_)) in [k for k in found if k[0] == "state"] if found[name, (state,)]} == {
        "running"
    }
    held = {labels[0]: value for (name, labels), value in found.items() if name == "held"}
    assert held == {kind: float(kind == "key_refused") for kind, row in FAULTS.items() if row.holds}
    assert found["consumer_loop_age_seconds", ()] == 0.5
    assert found["partition_watermark_offset", ("3", "track-submitted")] == 100
    assert found["partition_paused", ("3", "track-submitted")] == 1
    assert found["partition_metadata_used_ratio", ("3", "track-submitted")] == 0.25
    assert found["build_info", ("9.9",)] == 1


def test_both_formats_parse() -> None:
    told, _ = telemetry(status=replace(STATUS, lanes=()))
    for fact in FACTS:
        told(fact)
    body, content_type = told.exposition("application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert list(open_families(body.decode()))  # type: ignore[no-untyped-call]  # the library has no types there
    assert told.exposition("*/*")[1].startswith("text/plain")


def test_two_telemetries_share_nothing() -> None:
    first, second = telemetry()[0], telemetry()[0]
    first(DECIDED)
    assert ("decisions_total", ("approve", "two-tier", "none", "track-approve")) not in samples(second)


def test_a_decided_track_is_one_line_with_every_field() -> None:
    told, stream = telemetry("info")
    told(DECIDED)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert (line.pop("event"), line.pop("level")) == ("track_decided", "info")
    assert line == {name: getattr(DECIDED, name) for name in f.TrackDecided.__dataclass_fields__}


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("error", {"admission_held"}),
        (
            "warning",
            {"admission_held", "analysis_bought_again", "record_dead_lettered", "commit_finished", "lane_sealed"},
        ),
        ("debug", {name for name, _ in EVENTS.values()}),
    ],
)
def test_a_level_drops_what_is_quieter(level: str, events: set[str]) -> None:
    told, stream = telemetry(level)
    for fact in FACTS:
        told(fact)
    assert {line["event"] for line in lines(stream)} == events


def test_a_commit_that_went_well_is_quiet_and_one_that_did_not_is_loud() -> None:
    told, stream = telemetry("warning")
    told(f.CommitFinished(1, "committed", 1, 0.1))
    told(f.CommitFinished(1, "failed", 1, 0.1, "timeout"))
    told(f.LaneSealed(1, "moved", 0))
    told(f.Stopped(4, 1.0))
    assert [(line["event"], line["level"]) for line in lines(stream)] == [
        ("commit_finished", "warning"),
        ("worker_stopped", "warning"),
    ]


def test_console_lines_are_for_people() -> None:
    told, stream = telemetry("info", "console")
    told(DECIDED)
    told.log.error("fault", error="https://h/a?token=hidden")
    text = stream.getvalue().decode()
    assert "track_decided" in text
    assert "item-101" in text
    assert "hidden" not in text


secret = st.from_regex(r"Zq[A-Za-z0-9_.~+/=\"\\-]{8,40}Zq", fullmatch=True)
around = st.text(max_size=20)


@given(secret=secret, before=around, after=around)
def test_no_bearer_token_and_no_query_gets_out(secret: str, before: str, after: str) -> None:
    """Also not behind characters that JSON escapes; and what is cut leaves valid JSON."""
    told, stream = telemetry()
    user = re.sub(r'[/"\\]', "", secret)
    for text in (
        f"{before} Authorization: Bearer {secret} {after}",
        f"{before} https://cdn.example/a.mp3?signature={secret} {after}",
        f"{before} https://{user}@cdn.example/a.mp3 {after}",
    ):
        told.log.warning("x", message=text, nested={"list": [text]}, exc=text)
    assert len(lines(stream)) == 3
    assert b"Zq" not in stream.getvalue().replace(before.encode(), b"").replace(after.encode(), b"")


def test_keys_that_name_secrets_are_masked_at_any_depth() -> None:
    told, stream = telemetry()
    told.log.info("x", api_key="hidden", deep={"a": [{"Authorization": "hidden", "url": "hidden", "kept": 1}]})
    (line,) = lines(stream)
    assert line["api_key"] == MASK
    assert line["deep"] == {"a": [{"Authorization": MASK, "url": MASK, "kept": 1}]}


def test_an_address_without_query_stays_readable() -> None:
    assert scrub(b'{"a":"https://host/path"}') == b'{"a":"https://host/path"}'
    assert scrub(b'{"a":"https://host/p?x=1","b":2}') == b'{"a":"https://host/p?[redacted]","b":2}'


def test_a_value_that_json_does_not_know_is_named_by_its_type() -> None:
    told, stream = telemetry()
    told.log.info("x", value=object())
    assert lines(stream)[0]["value"] == "<object>"


def broken(key: str) -> None:
    raise ValueError(str(len(key)))


@pytest.mark.parametrize("layout", ["json", "console"])
def test_an_exception_shows_its_trace_and_no_local_variable(layout: str) -> None:
    told, stream = telemetry(layout=layout)
    try:
        broken("hid" + "den")
    except ValueError:
        told.log.exception("fault")
    assert b"ValueError: 6" in stream.getvalue()
    assert b"hidden" not in stream.getvalue()


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    """A library's logger; the root logger gets its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logging.getLogger("some.library")
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_libraries_log_comes_out_in_our_lines(library: logging.Logger) -> None:
    told, stream = telemetry("debug")
    LibraryMessages(told.log).install()
    library.info("quiet")
    library.warning("%s is away, %s", "node 1", "Bearer hidden")
    library.error("broken")
    assert [(line["level"], line["library"], line["message"]) for line in lines(stream)] == [
        ("warning", "some.library", f"node 1 is away, Bearer {MASK}"),
        ("error", "some.library", "broken"),
    ]
