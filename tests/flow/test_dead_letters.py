"""When a partition stops burying: against the rule written out over the whole history, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.flow.dead_letters import Stopped, StopPolicy, StopRule

POLICIES = st.builds(
    StopPolicy,
    share=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    window=st.sampled_from([1, 2, 4, 10, 100]),
    consecutive=st.sampled_from([0, 1, 3, 8, 50]),
)
# Runs, so that long ones occur.
HISTORIES = st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=30).map(
    lambda runs: [buried for buried, times in runs for _ in range(times)]
)


def verdict(policy: StopPolicy, history: list[bool]) -> Stopped | None:
    """Where this history stops, by its whole text."""
    for end in range(1, len(history) + 1):
        seen = history[:end]
        last = seen[-policy.window :]
        run = next((n for n, buried in enumerate(reversed(seen)) if not buried), end)
        by_run = policy.consecutive > 0 and run >= policy.consecutive
        by_share = len(last) == policy.window and sum(last) / policy.window > policy.share
        if by_run or by_share:
            return Stopped(sum(last), len(last), run)
    return None


def tell(rule: StopRule, *, buried: bool) -> bool:
    return rule.buried() if buried else rule.read()


@given(POLICIES, HISTORIES)
@settings(max_examples=300, deadline=None)
def test_it_stops_where_the_rule_says_and_stays_stopped(policy: StopPolicy, history: list[bool]) -> None:
    rule = StopRule(policy)
    for end, buried in enumerate(history[:150], 1):
        expected = verdict(policy, history[:end])
        assert tell(rule, buried=buried) is (expected is not None)
        assert rule.stopped == expected
        assert ("stopped" in repr(rule)) is (expected is not None)


@given(POLICIES, HISTORIES)
@settings(max_examples=200, deadline=None)
def test_what_is_buried_before_it_stops_is_bounded(policy: StopPolicy, history: list[bool]) -> None:
    """Never more in a row than `consecutive`; after the first window never more of one than its share and one."""
    rule, done = StopRule(policy), []
    for buried in history:
        done.append(buried)
        if tell(rule, buried=buried):
            break
    if policy.consecutive:
        assert longest_run(done) <= policy.consecutive
    for start in range(1, len(done) - policy.window + 1):
        assert sum(done[start : start + policy.window]) <= policy.share * policy.window + 1


def longest_run(history: list[bool]) -> int:
    longest = run = 0
    for buried in history:
        run = run + 1 if buried else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize(
    ("bad_of_ten", "stops_after"), [(0, None), (1, None), (4, None), (5, None), (6, 100), (9, 100), (10, 50)]
)
def test_a_topic_with_a_steady_share_of_bad_records(bad_of_ten: int, stops_after: int | None) -> None:
    """Half is borne for ever; more stops with the first full window; nothing else with the fiftieth."""
    rule = StopRule(StopPolicy())
    order = [(7 * n) % 10 < bad_of_ten for n in range(10)]
    stopped = next((n for n in range(1, 5001) if tell(rule, buried=order[-n % 10])), None)
    assert (stopped is None) == (stops_after is None)
    if stops_after is not None:
        assert stopped is not None
        assert stops_after <= stopped < stops_after + 10


def test_both_rules_can_be_switched_off() -> None:
    rule = StopRule(StopPolicy(share=1.0, consecutive=0))
    assert not any(rule.buried() for _ in range(1000))


def test_a_readable_record_stops_it_only_as_the_last_of_the_first_window() -> None:
    rule = StopRule(StopPolicy(share=0.5, window=4, consecutive=0))
    assert [rule.buried(), rule.buried(), rule.buried(), rule.read()] == [False, False, False, True]
    assert rule.stopped == Stopped(buried=3, records=4, in_a_row=0)
