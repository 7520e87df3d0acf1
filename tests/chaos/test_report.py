"""What a run's report calls silence: time without a decision while one was due, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.topics import Topics
from tests.broker.verify import Evidence, Verdict
from tests.chaos.faults import Injury
from tests.chaos.plan import NOW, TRACKS, Step
from tests.chaos.report import (
    FELT_SECONDS,
    LOOSE_SECONDS,
    RETRY_AFTER,
    RETRY_AFTER_SECONDS,
    SLOWEST,
    figures,
    silence,
    timeline,
)
from tests.chaos.run import Aftermath, Options
from worker.domain.record import Record

KILLED, RESTARTED = 1_000.0, 1_006.0  # Unix seconds
ON_TIME = SLOWEST * 4.0  # after its event, as `Options` below has it
LASTING = sorted(
    card.kind
    for cards in TRACKS.values()
    for card in cards
    if card.lasts != NOW and card.kind not in RETRY_AFTER | {"broker_killed"}
)
TIMES = st.integers(0, 100)
DECISIONS = st.lists(st.tuples(TIMES, st.integers(-100, 100)), max_size=20).map(sorted)


@given(st.lists(TIMES, max_size=20).map(sorted), TIMES, TIMES)
def test_who_decides_all_in_time_is_never_silent(seen: list[int], began: int, lasted: int) -> None:
    """However rare its events: nobody waits."""
    assert silence([(at, at) for at in seen], began, began + lasted) == 0


@given(DECISIONS, TIMES, TIMES)
def test_silence_lies_between_two_decisions_or_the_faults_beginning_and_one(
    decisions: list[tuple[int, int]], began: int, lasted: int
) -> None:
    edges = [began, *(seen for seen, _ in decisions if seen > began)]
    longest = max((later - earlier for earlier, later in pairwise(edges)), default=0)
    assert 0 <= silence(decisions, began, began + lasted) <= longest


@given(DECISIONS, TIMES, TIMES)
def test_one_more_decision_in_time_makes_no_silence_longer(
    decisions: list[tuple[int, int]], began: int, more: int
) -> None:
    ended = began + 10
    assert silence(sorted([*decisions, (more, more)]), began, ended) <= silence(decisions, began, ended)


@given(st.integers(1, 50), st.integers(1, 20))
def test_a_standstill_is_counted_whole(lasted: int, waiting: int) -> None:
    """Events came at every second, and what they became came in one transaction, topic after topic."""
    before = [(float(second), float(second)) for second in range(90, 101)]
    spread = LOOSE_SECONDS / waiting  # the one that waited longest comes last
    after = [(100 + lasted + number * spread, 100.0 + waiting - 1 - number) for number in range(waiting)]
    assert silence([*before, *sorted(after)], 100, 101) == pytest.approx(lasted)


def test_what_falls_due_after_a_fault_is_not_its_doing() -> None:
    assert silence([(130.0, 110.0)], 100, 109) == 0
    assert silence([(130.0, 110.0)], 100, 111) == 20


def test_a_partition_that_was_not_there_yet_or_had_nothing_to_decide_was_not_silent() -> None:
    """One is added 40 s after the kill, one gets an event every 20 s: neither says anything of the broker's death."""
    added = {1: [(KILLED + 40 + number, ON_TIME) for number in range(5)]}
    rare = {2: [(KILLED - 10 + 20 * number, ON_TIME) for number in range(4)]}
    assert _recovery(added | rare, _killed()) == "p50 0.0 s, max 0.0 s (of 1); with other faults at the same time: none"


def test_the_partition_that_stood_still_longest_is_the_one_that_counts() -> None:
    """Events come every second; one partition decides again 3 s after the kill, another after 7."""
    quick, slow = (
        [(KILLED + second, ON_TIME + max(0.0, stood - second - ON_TIME)) for second in range(-20, 20)]
        for stood in (3.0, 7.0)
    )
    assert _recovery({0: quick, 1: slow}, _killed()).startswith("p50 7.0 s, max 7.0 s (of 1)")


@pytest.mark.parametrize("after", [FELT_SECONDS - 0.1, FELT_SECONDS + 0.1])
def test_what_falls_due_soon_after_a_fault_counts(after: float) -> None:
    late = [(RESTARTED + after - ON_TIME, ON_TIME + 3)]
    assert _recovery({0: late}, _killed()).startswith("p50 3.0 s" if after < FELT_SECONDS else "p50 0.0 s")


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("apart", [FELT_SECONDS - 0.1, FELT_SECONDS + 0.1])
def test_a_fault_is_alone_where_no_other_was_felt_meanwhile(kind: str, apart: float) -> None:
    """Of whatever track, before or after it; but what befalls a few calls of the API is felt by nobody else."""
    for began, ended in ((RESTARTED + apart, RESTARTED + apart + 3), (KILLED - apart - 3, KILLED - apart)):
        found = _recovery({}, _killed(), Injury(Step(0, 3, "any", kind, 0), began, ended))
        assert found.startswith("none; with") == (apart < FELT_SECONDS)
    passing = Injury(Step(0, 0, "api", "not_json", 0), KILLED + 1, KILLED + 1)
    assert _recovery({}, _killed(), passing).endswith("with other faults at the same time: none")


@pytest.mark.parametrize("kind", sorted(RETRY_AFTER))
@pytest.mark.parametrize("before", [RETRY_AFTER_SECONDS - 0.1, RETRY_AFTER_SECONDS + 0.1])
def test_what_tells_workers_to_wait_is_felt_until_they_have_waited(kind: str, before: float) -> None:
    other = Injury(Step(0, 3, "api", kind, 0), KILLED - before - 3, KILLED - before)
    found = _recovery({}, _killed(), other)
    assert found.startswith("none; with") == (before < RETRY_AFTER_SECONDS)


def _killed() -> Injury:
    return Injury(Step(0, 4, "broker", "broker_killed", 1), KILLED, RESTARTED)


def _recovery(partitions: dict[int, list[tuple[float, float]]], *injuries: Injury) -> str:
    """What the report says of killed brokers; `partitions`: when each event was written, how long it took."""
    events = [
        Record("in", partition, offset, round(written * 1000), None, b"", ())
        for partition, found in partitions.items()
        for offset, (written, _) in enumerate(found)
    ]
    seen = [
        (written + took, orjson.dumps({"source": {"partition": partition, "offset": offset}}))
        for partition, found in partitions.items()
        for offset, (written, took) in enumerate(found)
    ]
    ledger = {"credits": 0, "tracks": 0, "faults": {}, "requests": {}, "analyses_in_flight_max": 0}
    aftermath = Aftermath(
        options=Options(seed=1, seconds=60, service_seconds=4),
        verdict=Verdict(0, 0, 0, 0, (), ""),
        evidence=Evidence(Topics.of("run"), events, []),
        ledger=ledger,
        injuries=injuries,
        timeline=timeline(seen),
        crashes=[],
        exit_codes=[],
        peak_memory_bytes=0,
    )
    [line] = [line for line in figures(aftermath).splitlines() if line.startswith("silence after broker_killed: ")]
    return line.removeprefix("silence after broker_killed: ")
