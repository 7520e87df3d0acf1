"""Facts become metrics: each exactly once, in a registry of their own; gauges are the status at the scrape."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, get_args

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from tests.adapters.sample_facts import DECIDED, FACTS, LANE, STATUS, telemetry
from worker.adapters.telemetry.catalogue import CATALOGUE, PER_PARTITION, PREFIX
from worker.adapters.telemetry.logs import EVENTS
from worker.adapters.telemetry.metrics import Infos, Metrics
from worker.domain.analysis import Tier, TierValue
from worker.flow.faults import FAULTS, FaultKind
from worker.pipeline import facts as f
from worker.pipeline.explanation import WaitsFor
from worker.pipeline.statuses import LaneStatus, PausedBy

if TYPE_CHECKING:
    from worker.adapters.telemetry import Telemetry
    from worker.pipeline.statuses import WorkerStatus


def samples(told: Telemetry) -> dict[tuple[str, tuple[str, ...]], float]:
    """Our samples of a scrape by name (without prefix) and label values, in the order of the labels' names."""
    return {
        (sample.name.removeprefix(PREFIX), tuple(sample.labels.values())): sample.value
        for family in families(told.exposition("")[0].decode())
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


def test_the_sample_facts_are_all_there_are() -> None:
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
        ("api_calls_total", ("submit", "accepted")): 1,
        ("api_calls_total", ("poll", "finished")): 1,
        ("api_call_duration_seconds_sum", ("submit",)): 0.45,
        ("api_call_duration_seconds_sum", ("poll",)): 0.5,
        ("quota_wait_seconds_total", ("poll",)): 1.25,
        ("retries_total", ("throttled",)): 1,
        ("analyses_bought_total", ("direct",)): 1,
        ("analyses_bought_total", ("bulk",)): 9990,
        ("analyses_bought_again_total", ("outcome_unknown",)): 1,
        ("analyses_bought_again_total", ("job_failed",)): 5000,
        ("job_tracks_sum", ()): 9990,
        ("jobs_accepted_total", ()): 1,
        ("jobs_ended_total", ("complete",)): 1,
        ("jobs_ended_total", ("failed",)): 1,
        ("job_duration_seconds_sum", ("complete",)): 1800.5,
        ("job_duration_seconds_sum", ("failed",)): 600,
        ("job_tracks_left_total", ("failed",)): 5000,
        ("job_results_total", ("incomplete", "webhook")): 1,
        ("job_results_total", ("decided", "page")): 2,
        ("mode_changes_total", ("bulk",)): 1,
        ("decisions_total", ("approve", "two-tier", "none", "track-approve")): 1,
        ("analyses_total", ("success",)): 1,
        ("tier_outcomes_total", ("two-tier", "press_safe", "not_evaluated")): 1,
        ("tier_outcomes_total", ("two-tier", "human_safe", "human")): 1,
        ("tier_outcomes_total", ("two-tier", "recall", "human")): 1,
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
        ("outages_total", ("unavailable",)): 1,
        ("outage_seconds_total", ("unavailable",)): 61.5,
        ("webhooks_total", ("published",)): 1,
    }
    counted = {key: value for key, value in found.items() if key[0].endswith(("_total", "_sum")) and value}
    assert counted == expected


def test_no_fact_begins_a_series_that_could_have_been_there_before() -> None:
    """Prometheus sees no increase in a series that appears with its first event."""
    told, _ = telemetry()
    before = {key for key in samples(told) if key[0].endswith("_total")}
    for fact in FACTS:
        told(fact)
    began = {name for name, _ in samples(told).keys() - before if name.endswith("_total")}
    assert began == set()


def test_the_successes_are_those_that_callers_tell() -> None:
    """A word that only a caller knows would begin its series with its first event."""
    told, _ = telemetry()
    calls = {labels for name, labels in samples(told) if name == "api_calls_total"}
    kinds = {kind.value for kind in FaultKind}
    assert {outcome for operation, outcome in calls if operation == "submit"} == {"finished", "accepted"} | kinds
    assert {outcome for operation, outcome in calls if operation == "poll"} == {"finished", "running"} | kinds
    assert {operation for operation, _ in calls} == set(get_args(f.Operation))


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
    # Texts: /readyz and /status have one, the worker's partitions_paused counts the other.
    said_elsewhere = {"publish_error", "paused_by"}
    assert {"topic", "partition", *PER_PARTITION} | said_elsewhere == set(LaneStatus.__dataclass_fields__)


def test_the_gauges_are_the_status_at_the_scrape() -> None:
    found = samples(telemetry()[0])
    assert {state for (name, (state, *_)) in [k for k in found if k[0] == "state"] if found[name, (state,)]} == {
        "running"
    }
    held = {labels[0]: value for (name, labels), value in found.items() if name == "held"}
    assert held == {kind: float(kind == "key_refused") for kind, row in FAULTS.items() if row.holds}
    assert found["consumer_loop_age_seconds", ()] == 0.5
    assert found["quota_requests_per_minute", ()] == 15
    assert found["quota_waiting_polls", ()] == 3
    assert found["quota_remaining", ()] == 17
    assert found["retry_budget", ()] == 7.5
    assert found["event_loop_lag_seconds", ()] == 0.125
    assert found["policy_info", ("true", "sha256:abc", "two-tier")] == 1
    lane = ("3", "track-submitted")
    assert (found["partition_lag_records", lane], found["partition_done_above_watermark", lane]) == (120, 6)
    assert (found["partition_oldest_event_seconds", lane], found["partition_commit_age_seconds", lane]) == (2.5, 0.75)
    assert found["partition_watermark_offset", ("3", "track-submitted")] == 100
    assert found["partition_paused", ("3", "track-submitted")] == 1
    assert found["partition_metadata_used_ratio", ("3", "track-submitted")] == 0.25
    assert found["build_info", ("9.9",)] == 1


def paused(status: WorkerStatus) -> dict[str, float]:
    found = samples(telemetry(status=status)[0])
    return {labels[0]: value for (name, labels), value in found.items() if name == "partitions_paused"}


def test_every_partition_that_stands_counts_once_and_every_reason_is_there() -> None:
    none = dict.fromkeys(get_args(PausedBy), 0.0)
    lanes = [LaneStatus("track-submitted", number, paused_by=why) for number, why in enumerate(get_args(PausedBy) * 2)]
    flowing = LaneStatus("track-submitted", 99, paused_by=None)
    assert paused(replace(STATUS, lanes=(*lanes, flowing))) == dict.fromkeys(none, 2.0)
    assert paused(replace(STATUS, lanes=(flowing,))) == none
    assert paused(replace(STATUS, lanes=(LANE, LANE, flowing))) == none | {"buffer_full": 2}
    assert paused(replace(STATUS, state="draining", lanes=(LANE, flowing))) == none | {"draining": 2}


def test_the_reasons_are_those_of_explain_and_the_readme_names_each() -> None:
    assert set(get_args(PausedBy)) <= set(WaitsFor)
    [said] = [metric.meaning for metric in CATALOGUE if metric.name == "partitions_paused"]
    assert all(why in said for why in get_args(PausedBy))


def test_what_the_tiers_say_begins_at_zero_for_every_loaded_policy() -> None:
    metrics = Metrics(lambda: STATUS, Infos("9.9", (("one", "a", "true"), ("two", "b", "false"))))
    text = metrics.exposition("")[0].decode()
    for policy, tier, value in product(("one", "two"), Tier, TierValue):
        assert f'{PREFIX}tier_outcomes_total{{policy="{policy}",tier="{tier}",value="{value}"}} 0.0' in text


def test_a_call_of_45_seconds_is_told_from_one_of_50() -> None:
    """Classic buckets tell a quantile no closer than the bucket that it falls into."""
    bounds = {metric.name: metric.buckets for metric in CATALOGUE if metric.buckets}
    for name in ("api_call_duration_seconds", "analysis_duration_seconds"):
        near = [bound for bound in bounds[name] if 30 <= bound <= 60]
        assert (near[0], near[-1]) == (30, 60), name
        assert all(above - below <= 5 for below, above in pairwise(near)), name


def test_the_jobs_of_a_partition_are_shown_as_they_stand() -> None:
    found, lane = samples(telemetry()[0]), ("3", "track-submitted")
    assert found["partition_bulk", lane] == 1
    assert found["partition_direct_estimate_seconds", lane] == 7200.5
    assert found["partition_bulk_above_seconds", lane] == 450
    assert (found["partition_jobs_open", lane], found["partition_in_jobs", lane]) == (2, 9000)
    assert found["partition_behind_key", lane] == 7
    assert found["partition_oldest_job_seconds", lane] == 321.5


def test_without_jobs_there_is_no_estimate_and_no_oldest_job() -> None:
    """Unknown is not zero; but no jobs, and not in bulk mode, is."""
    lane = LaneStatus("track-submitted", 3)
    found = {name: value for (name, _), value in samples(telemetry(status=replace(STATUS, lanes=(lane,)))[0]).items()}
    assert (found["partition_bulk"], found["partition_jobs_open"], found["partition_in_jobs"]) == (0, 0, 0)
    left_out = {"partition_direct_estimate_seconds", "partition_bulk_above_seconds", "partition_oldest_job_seconds"}
    assert not left_out & set(found)


def test_every_kind_of_submission_that_was_taken_is_bought_and_no_poll_is() -> None:
    told, _ = telemetry()
    outcomes = ("finished", "accepted", "running", *(kind.value for kind in FaultKind))
    for outcome in outcomes:
        for operation in get_args(f.Operation):
            told(f.CallFinished(operation, outcome, 0.1, 3, 101))
    bought = {labels: value for (name, labels), value in samples(told).items() if name == "analyses_bought_total"}
    assert bought == {("direct",): 2, ("bulk",): 0}


def test_a_track_is_as_old_as_its_own_timestamp_says_when_it_is_committed() -> None:
    metrics = Metrics(lambda: STATUS, Infos("9.9"), wall=lambda: 1000.0)
    metrics(f.TracksCommitted(3, (999_500, 100_000, 2**60), (None, None, None), 0.1))
    text = metrics.exposition("")[0].decode()
    assert f"{PREFIX}track_age_seconds_sum 900.5" in text
    counts = {float(bound): counted(text, bound) for bound in ("1.0", "600.0", "900.0", "+Inf")}
    assert list(counts.values()) == [2, 2, 3, 3]


def counted(text: str, bound: str) -> float:
    return float(text.partition(f'{PREFIX}track_age_seconds_bucket{{le="{bound}"}} ')[2].partition("\n")[0])


def test_how_a_job_ended_is_told_for_every_way() -> None:
    told, _ = telemetry()
    for outcome in get_args(f.JobOutcome):
        told(f.JobEnded(3, outcome, 1, 2.0, None))
    ended = {labels[0] for name, labels in samples(told) if name == "jobs_ended_total"}
    said = next(metric.meaning for metric in CATALOGUE if metric.name == "jobs_ended")
    assert ended == set(get_args(f.JobOutcome))
    assert all(outcome in said for outcome in ended)


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
    assert samples(second)["decisions_total", ("approve", "two-tier", "none", "track-approve")] == 0
