"""When the tracks of a simulated job are done: against a plain model of workers that take one track after another."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox.api import SimulationConfig
from worker.sandbox.api.bulk_jobs import BulkJob, Fate, settle
from worker.sandbox.api.bulk_orders import read_order
from worker.sandbox.api.findings import Findings
from worker.sandbox.api.scenarios import SCENARIOS, unit

NAMES = st.lists(st.sampled_from(["human", "slow", "stuck", "ai", "failed"]), min_size=1, max_size=30)
FATES = st.builds(Fate, fails=st.booleans(), stuck=st.booleans(), late=st.booleans())


def modelled(names: list[str], *, config: SimulationConfig, now: float) -> list[float]:
    """Each worker takes the next track when it is free; the one that is free first is next."""
    workers, ends = [now] * config.bulk_parallelism, []
    for number, name in enumerate(names):
        if name == "stuck":
            ends.append(math.inf)
            continue
        spread = 1 + config.jitter * (2 * unit(config.seed + number, f"a{number}", "service") - 1)
        first = workers.index(min(workers))
        workers[first] += config.service_seconds * spread * SCENARIOS[name].slowness / config.time_scale
        ends.append(workers[first])
    return ends


@given(names=NAMES, parallelism=st.integers(1, 5), scale=st.sampled_from([1.0, 60.0]), jitter=st.floats(0, 0.9))
def test_tracks_are_done_as_workers_come_to_them(
    names: list[str], parallelism: int, scale: float, jitter: float
) -> None:
    config = SimulationConfig(bulk_parallelism=parallelism, time_scale=scale, jitter=jitter)
    addresses = [f"a{number}" for number in range(len(names))]
    timing = settle(addresses, [SCENARIOS[name] for name in names], config=config, now=5.0)
    assert list(timing.due) == sorted(timing.due)
    assert sorted(timing.positions) == list(range(len(names)))
    by_position = dict(zip(timing.positions, timing.due, strict=True))
    assert [by_position[n] for n in range(len(names))] == pytest.approx(modelled(names, config=config, now=5.0))


def job(names: list[str], fate: Fate, **settings: Any) -> BulkJob:
    config = SimulationConfig(**{"bulk_parallelism": 2, "results_late_seconds": 7.0} | settings)
    body = b",".join(b'{"item_id":"%d","url":"a%d"}' % (n, n) for n in range(len(names)))
    items = read_order(b'{"name":"x","items":[%b]}' % body).items
    assert items is not None
    timing = settle(items.addresses, [SCENARIOS[name] for name in names], config=config, now=5.0)
    return BulkJob(
        job_id="job-1",
        name="x",
        webhook_url=None,
        items=items.accepted(),
        timing=timing,
        fate=fate,
        config=config,
        findings=Findings(seed=0),
        now=5.0,
        wall=1_800_000_000.0,
    )


@given(names=NAMES, fate=FATES, early=st.booleans(), order=st.booleans(), steps=st.lists(st.floats(0, 600), max_size=8))
def test_progress_never_goes_back_and_the_counts_add_up(
    names: list[str], fate: Fate, early: bool, order: bool, steps: list[float]
) -> None:
    one, now, done, seen = job(names, fate), 5.0, 0, set[int]()
    for step in [*steps, 100_000.0]:
        now += step
        state = one.state(now)
        shown = set(one.results(now, early=early, submitted_order=order))
        assert state["processed"] >= done
        assert state["processed"] == state["succeeded"] + state["failed"] <= state["total"] == len(names)
        assert state["succeeded"] == sum(state["verdict_counts"].values())
        assert seen <= shown <= set(range(state["processed"]))
        assert (state["completed_at"] is None) is (state["status"] in {"queued", "processing"})
        assert early or not shown or state["status"] in {"complete", "failed"}
        done, seen = state["processed"], shown
    ends = not (fate.stuck or "stuck" in names)
    assert state["status"] == ("failed" if fate.fails else "complete" if ends else state["status"])
    assert seen == set(range(done if early or ends or fate.fails else 0)), "what is late comes in the end"


@given(names=NAMES, fate=FATES)
def test_the_webhooks_tell_what_is_counted_once_each_in_time(names: list[str], fate: Fate) -> None:
    one = job(names, fate)
    moments = list(one.moments())
    assert [moment for moment, _ in moments] == sorted(moment for moment, _ in moments)
    *tracks, (end, last) = moments
    assert last == -1
    assert [rank for _, rank in tracks] == list(range(len(tracks)))
    if end < math.inf:
        state = one.state(end)
        assert len(tracks) == state["processed"]
        assert state["status"] == ("failed" if fate.fails else "complete")


@given(names=NAMES)
def test_filters_divide_the_results(names: list[str]) -> None:
    one = job([name for name in names if name != "stuck"] or ["ai"], Fate())
    ranks = list(one.results(math.inf, early=True, submitted_order=False))
    parts = [("success", "human"), ("success", "suspicious"), ("failed", None)]
    found = [list(one.kept(ranks, status=status, verdict=verdict)) for status, verdict in parts]
    assert sorted(rank for part in found for rank in part) == ranks


@pytest.mark.parametrize("setting", ["bulk_parallelism", "webhook_connections", "webhook_attempts"])
def test_a_simulation_without_workers_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        SimulationConfig(**{setting: 0})  # type: ignore[arg-type]
