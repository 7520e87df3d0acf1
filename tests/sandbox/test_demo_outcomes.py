"""The demo's judgement: it is right only if nothing at all is wrong, and it names each thing that is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox.cases import DEAD_LETTER
from worker.sandbox.outcomes import Board, Outcome, Submitted, percentile
from worker.sandbox.surroundings import TOPICS
from worker.sandbox.traffic import Expected, SampleEvent

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = {
    "approve": (Expected("approve", None, 1), TOPICS["TOPIC_APPROVE"]),
    "review": (Expected("manual_review", "analysis_failed", 1), TOPICS["TOPIC_REVIEW"]),
    "rejected": (Expected("rejected", "press_safe_suspicious", 1), TOPICS["TOPIC_REJECT"]),
    "dead letter": (Expected(DEAD_LETTER, "not_json", 0), TOPICS["TOPIC_DEAD_LETTER"]),
}
VALUE = b"<track/>"


def right(kind: str, offset: int) -> Outcome:
    expected, topic = EVENTS[kind]
    return Outcome((0, offset), expected.outcome, expected.reason, topic, 0, VALUE, None)


def board_of(kinds: list[str]) -> Board:
    board = Board()
    for offset, kind in enumerate(kinds):
        board.submit((0, offset), Submitted(SampleEvent(kind, b"k", VALUE, (), EVENTS[kind][0]), 1, 0))
    return board


FAULTS: dict[str, Callable[[Outcome], list[Outcome]]] = {
    "none": lambda outcome: [outcome],
    "lost": lambda _: [],
    "repeated": lambda outcome: [outcome, outcome],
    "other decision": lambda outcome: [replace(outcome, outcome="certified", topic=TOPICS["TOPIC_APPROVE"])],
    "other reason": lambda outcome: [replace(outcome, reason="mock_result")],
    "other topic": lambda outcome: [replace(outcome, topic=TOPICS["TOPIC_SUBMITTED"])],
    "other bytes": lambda outcome: [replace(outcome, value=b"<Track/>")],
}


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.sampled_from(sorted(FAULTS))), max_size=20))
def test_each_fault_is_told_once_and_nothing_else(history: list[tuple[str, str]]) -> None:
    board = board_of([kind for kind, _ in history])
    for offset, (kind, fault) in enumerate(history):
        for outcome in FAULTS[fault](right(kind, offset)):
            board.add(outcome)
    # A decision's bytes are its own affair; a dead letter's are the event's.
    faulty = [(kind, fault) for kind, fault in history if fault != "none"]
    faulty = [(kind, fault) for kind, fault in faulty if fault != "other bytes" or kind == "dead letter"]
    assert len(board.problems(credits_bought=board.credits_due(), bought_again={})) == len(faulty)
    assert board.settled == sum(fault != "lost" for _, fault in history)


def test_an_outcome_of_nothing_is_a_fault() -> None:
    board = board_of(["approve"])
    board.add(right("approve", 0))
    board.add(right("approve", 7))
    assert board.settled == 1
    assert board.problems(credits_bought=1, bought_again={}) == ["partition 0 offset 7: an outcome of no event of ours"]


@pytest.mark.parametrize("bought", [0, 2])
def test_credits_must_match_both_ways(bought: int) -> None:
    board = board_of(["approve", "dead letter"])
    board.add(right("approve", 0))
    board.add(right("dead letter", 1))
    assert board.problems(credits_bought=1, bought_again={}) == []
    assert len(board.problems(credits_bought=bought, bought_again={})) == 1


def test_a_second_purchase_is_told_without_the_addresss_query() -> None:
    told = board_of([]).problems(credits_bought=0, bought_again={"https://audio.example/1.flac?signature=s3cr3t": 2})
    assert told == ["bought 2 times: https://audio.example/1.flac"]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_a_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))
