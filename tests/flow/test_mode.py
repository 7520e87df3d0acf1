"""Direct calls or jobs: whichever clears the lane sooner, without swinging between them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.flow.mode import JobTime, Mode, ModeChooser, ModePolicy, ModeSetting, direct_rate

POLICY = ModePolicy()
RATES = st.floats(0.001, 100)
WAITING = st.integers(0, 10**7)
SECONDS = st.floats(0, 1000)
DECISIONS = st.lists(st.tuples(SECONDS, WAITING, st.one_of(RATES, st.just(0.0))), max_size=60)


def in_mode(mode: Mode, policy: ModePolicy = POLICY, job_seconds: float = 120.0) -> ModeChooser:
    """Dwelt in long enough at 10,000 s."""
    lane = ModeChooser(policy, JobTime(job_seconds))
    assert lane.decide(0.0, 10**9 if mode is Mode.BULK else 0, 1.0) is mode
    return lane


# What is chosen.


def test_a_backlog_goes_by_jobs_and_a_trickle_by_direct_calls() -> None:
    """At once: a lane that begins with a backlog does not wait for anything."""
    lane = ModeChooser(POLICY, JobTime())
    assert lane.mode is Mode.DIRECT
    assert lane.decide(0.0, 100_000, 1.0) is Mode.BULK
    assert (lane.estimate_seconds, lane.above_seconds) == (100_000, 300)
    assert lane.decide(60.0, 3, 1.0) is Mode.DIRECT
    assert (lane.estimate_seconds, lane.above_seconds) == (3, 300)


@pytest.mark.parametrize(
    ("mode", "waiting", "after"),
    [
        (Mode.DIRECT, 300, Mode.DIRECT),
        (Mode.DIRECT, 301, Mode.BULK),
        (Mode.BULK, 150, Mode.BULK),
        (Mode.BULK, 149, Mode.DIRECT),
        (Mode.BULK, 0, Mode.DIRECT),
    ],
)
def test_the_bounds_of_the_band_belong_to_it(mode: Mode, waiting: int, after: Mode) -> None:
    assert in_mode(mode).decide(10_000.0, waiting, 1.0) is after


@given(st.sampled_from(Mode), WAITING, RATES, st.floats(1, 10_000), st.floats(1, 10_000))
def test_a_change_is_always_for_the_better(
    mode: Mode, waiting: int, rate: float, above: float, job_seconds: float
) -> None:
    """To jobs only where direct calls need longer than allowed and than a job; back only where they need less."""
    lane = in_mode(mode, ModePolicy(bulk_above_seconds=above), job_seconds)
    after = lane.decide(10_000.0, waiting, rate)
    direct = waiting / rate
    if (mode, after) == (Mode.DIRECT, Mode.BULK):
        assert direct > above
        assert direct > job_seconds
    elif (mode, after) == (Mode.BULK, Mode.DIRECT):
        assert direct < max(above, job_seconds) / 2
    else:
        assert mode is Mode.BULK or direct <= max(above, job_seconds)
        assert mode is Mode.DIRECT or direct >= max(above, job_seconds) / 2


@given(st.sampled_from([ModeSetting.DIRECT, ModeSetting.BULK]), DECISIONS)
def test_what_the_operator_wants_is_done(setting: ModeSetting, decisions: list[tuple[float, int, float]]) -> None:
    """Whatever waits; the estimate is made all the same."""
    lane, now = ModeChooser(ModePolicy(setting=setting), JobTime()), 0.0
    for after, waiting, rate in decisions:
        now += after
        assert lane.decide(now, waiting, rate).value == setting.value
        if rate:
            assert lane.estimate_seconds == pytest.approx(waiting / rate)


# Hysteresis.


@given(
    st.sampled_from(Mode),
    st.floats(1, 10_000),
    RATES,
    st.lists(st.tuples(SECONDS, st.floats(0.501, 0.999)), min_size=1, max_size=60),
)
@example(Mode.DIRECT, 300.0, 1.0, [(1000.0, 0.501), (1000.0, 0.999)] * 20)
def test_noise_within_the_band_changes_nothing(
    mode: Mode, above: float, rate: float, noise: list[tuple[float, float]]
) -> None:
    """In neither mode, however long it lasts."""
    lane, now = in_mode(mode, ModePolicy(bulk_above_seconds=above), min(above, 120.0)), 10_000.0
    for after, share in noise:
        now += after
        waiting = round(share * above * rate)
        if above / 2 <= waiting / rate <= above:
            assert lane.decide(now, waiting, rate) is mode


@given(DECISIONS, st.floats(0, 500), st.lists(st.tuples(st.floats(0, 5000), st.integers(1, 10_000)), max_size=60))
def test_changes_are_apart(
    decisions: list[tuple[float, int, float]], dwell: float, jobs: list[tuple[float, int]]
) -> None:
    """By the dwelling time at least, whatever waits, and whatever is learned meanwhile."""
    time = JobTime()
    lane, now, changed_at = ModeChooser(ModePolicy(min_dwell_seconds=dwell), time), 0.0, -math.inf
    for number, (after, waiting, rate) in enumerate(decisions):
        now += after
        before = lane.mode
        if lane.decide(now, waiting, rate) is not before:
            assert now >= changed_at + dwell
            changed_at = now
        if number < len(jobs):
            time.learn(*jobs[number])


@given(st.sampled_from(Mode), st.lists(WAITING, min_size=2, max_size=50), RATES)
def test_what_only_grows_or_only_falls_changes_the_mode_once(mode: Mode, waiting: list[int], rate: float) -> None:
    for ordered in (sorted(waiting), sorted(waiting, reverse=True)):
        lane, modes = in_mode(mode), [mode]
        modes += [lane.decide(10_000.0 + 1000 * at, each, rate) for at, each in enumerate(ordered)]
        falls = ordered[0] > ordered[-1]
        changes = [after for before, after in pairwise(modes[1:]) if before is not after]
        assert changes in ([], [Mode.DIRECT if falls else Mode.BULK])


@given(st.sampled_from(Mode), st.integers(1, 10**9))
def test_without_a_rate_nothing_is_known_and_nothing_changes(mode: Mode, waiting: int) -> None:
    """Between two assignments nothing may leave: that makes no backlog."""
    lane = in_mode(mode)
    estimate = lane.estimate_seconds
    assert lane.decide(10_000.0, waiting, 0.0) is mode
    assert lane.estimate_seconds == estimate


def test_nothing_waiting_needs_no_rate() -> None:
    assert in_mode(Mode.BULK).decide(10_000.0, 0, 0.0) is Mode.DIRECT


# What a job needs.


def test_before_any_job_the_setting_counts() -> None:
    assert JobTime(120.0).seconds(1) == JobTime(120.0).seconds(10_000) == 120.0


def test_the_first_job_counts_whole_and_later_ones_in_part() -> None:
    time = JobTime(120.0)
    time.learn(1000.0, 5000)
    assert time.seconds(5000) == 1000.0
    time.learn(2000.0, 5000)
    assert time.seconds(5000) == pytest.approx(1300.0)


def test_a_smaller_job_needs_its_share_but_hardly_less_than_the_setting() -> None:
    """Else one job of ten thousand would forbid all of a hundred for ever: no other one would be learned from."""
    time = JobTime(120.0)
    time.learn(3600.0, 10_000)
    assert [time.seconds(tracks) for tracks in (0, 100, 1000, 10_000, 10**6)] == [120, 120, 360, 3600, 3600]


def test_quick_jobs_are_believed() -> None:
    time = JobTime(120.0)
    time.learn(20.0, 10_000)
    assert time.seconds(10) == time.seconds(10_000) == 20.0


JOBS = st.lists(st.tuples(st.floats(0, 1e5), st.integers(1, 10_000)), min_size=1, max_size=30)


@given(JOBS, st.lists(st.integers(0, 10**6), min_size=1))
def test_what_is_learned_stays_between_what_was_seen(jobs: list[tuple[float, int]], tracks: list[int]) -> None:
    """And more tracks never need less time."""
    time = JobTime(120.0)
    for job in jobs:
        time.learn(*job)
    needed = [time.seconds(each) for each in sorted(tracks)]
    assert needed == sorted(needed)
    assert max(needed) <= max(seconds for seconds, _ in jobs) * (1 + 1e-9) + 1e-9
    assert min(needed) >= min(120.0, *(seconds for seconds, _ in jobs)) * (1 - 1e-9)


def test_the_threshold_is_what_a_job_of_the_backlog_needs() -> None:
    time = JobTime(120.0)
    time.learn(3600.0, 10_000)
    lane = ModeChooser(POLICY, time)
    assert lane.decide(0.0, 1000, 2.0) is Mode.BULK
    assert (lane.estimate_seconds, lane.above_seconds) == (500, 360)
    assert lane.decide(100.0, 1000, 10.0) is Mode.DIRECT
    assert lane.decide(200.0, 20_000, 10.0) is Mode.DIRECT
    assert (lane.estimate_seconds, lane.above_seconds) == (2000, 3600)


# What direct calls can do.


@pytest.mark.parametrize(
    ("slots", "analysis", "per_minute", "requests", "lanes", "rate"),
    [
        (64, 45, None, 2, 1, 64 / 45),  # no limit: the slots
        (64, 45, 60, 2, 1, 0.5),  # the quota: half a track a second
        (64, 45, 60, 2, 4, 0.125),
        (1, 45, 60, 2, 1, 1 / 45),
        (64, 45, 60, 0.2, 0, 1.0),  # a track takes a request at least, and one lane asks
        (64, 45, 0, 2, 1, 0.0),  # no part of the quota
        (8, 0, None, 2, 1, 8000.0),
    ],
)
def test_the_rate_is_what_slots_and_quota_allow(
    *, slots: float, analysis: float, per_minute: float | None, requests: float, lanes: int, rate: float
) -> None:
    found = direct_rate(
        slots=slots,
        analysis_seconds=analysis,
        requests_per_minute=per_minute,
        requests_per_track=requests,
        lanes=lanes,
    )
    assert found == pytest.approx(rate)


def test_they_say_where_they_stand() -> None:
    time = JobTime(120.0)
    lane = ModeChooser(POLICY, time)
    assert repr(lane) == "<ModeChooser direct 0s of 300s>"
    assert repr(time) == "<JobTime 120.0s for 0 tracks>"
