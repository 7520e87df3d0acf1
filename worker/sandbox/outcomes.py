"""What became of the sample traffic, judged from the topics and the simulated API's ledger; the worker is not asked.

- Every event has exactly one outcome: the decision it should have, on the topic of that decision, or, where it is no
  event, a dead letter with its own bytes under the right code.
- There is no outcome of anything that was not submitted.
- Every analysis that had to be bought was bought once, and nothing else was.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from worker.domain import deadletter
from worker.sandbox.cases import DEAD_LETTER
from worker.sandbox.surroundings import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from worker.domain.record import Record
    from worker.sandbox.traffic import SampleEvent

Place = tuple[int, int]  # partition and offset on the input topic

_HOMES = {
    **dict.fromkeys(("approve", "certified"), TOPICS["TOPIC_APPROVE"]),
    **dict.fromkeys(("manual_review", "review"), TOPICS["TOPIC_REVIEW"]),
    **dict.fromkeys(("reject", "rejected"), TOPICS["TOPIC_REJECT"]),
    DEAD_LETTER: TOPICS["TOPIC_DEAD_LETTER"],
}


@dataclass(frozen=True, slots=True)
class Submitted:
    """An event as the broker took it. `at_ms` is the record's timestamp, Unix milliseconds.

    `waited`: it was there before its worker, and goes in a job of many tracks.
    """

    event: SampleEvent
    generation: int
    at_ms: int
    waited: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One record of an output topic. `reason` of a dead letter is its code; `body` is None there."""

    place: Place
    outcome: str
    reason: str | None
    topic: str
    at_ms: int
    value: bytes = field(repr=False)
    body: Mapping[str, Any] | None = field(repr=False)
    path: str = ""


def outcome_of(record: Record) -> Outcome:
    """Read one record of an output topic. Raises KeyError or ValueError if it is none of ours."""
    value = record.value or b""
    if record.topic == TOPICS["TOPIC_DEAD_LETTER"]:
        told = {name: (text or b"").decode() for name, text in record.headers if name in deadletter.OWN_HEADERS}
        place = int(told[deadletter.PARTITION]), int(told[deadletter.OFFSET])
        code, path = told[deadletter.ERROR], told[deadletter.PATH]
        return Outcome(place, DEAD_LETTER, code, record.topic, record.timestamp_ms, value, None, path)
    body = orjson.loads(value)
    place = body["source"]["partition"], body["source"]["offset"]
    return Outcome(place, body["decision"], body.get("reason"), record.topic, record.timestamp_ms, value, body)


class Board:
    """Events and outcomes, by the event's place. Either may become known first."""

    def __init__(self) -> None:
        self.submitted: dict[Place, Submitted] = {}
        self.outcomes: dict[Place, list[Outcome]] = {}
        self.latest: Outcome | None = None

    def __repr__(self) -> str:
        return f"<Board {len(self.submitted)} submitted, {len(self.outcomes)} with an outcome>"

    def submit(self, place: Place, submitted: Submitted) -> None:
        """An event is on the input topic."""
        self.submitted[place] = submitted

    def add(self, outcome: Outcome) -> None:
        """An outcome is on an output topic."""
        self.outcomes.setdefault(outcome.place, []).append(outcome)
        self.latest = outcome

    @property
    def settled(self) -> int:
        """Submitted events that have an outcome."""
        return len(self.submitted.keys() & self.outcomes.keys())

    @property
    def by_topic(self) -> Counter[str]:
        """Outcomes on each output topic."""
        return Counter(outcome.topic for each in self.outcomes.values() for outcome in each)

    def pairs(self) -> Iterator[tuple[Submitted, Outcome]]:
        """Every event with each of its outcomes."""
        for place, submitted in self.submitted.items():
            for outcome in self.outcomes.get(place, ()):
                yield submitted, outcome

    def credits_due(self) -> int:
        """How many analyses the events cost if nothing is bought twice."""
        return sum(submitted.event.expected.credits for submitted in self.submitted.values())

    def problems(self, *, credits_bought: int, bought_again: Mapping[str, int]) -> list[str]:
        """Tell of everything that is not as it should be, a line each; nothing is right."""
        found = [problem for place in sorted(self.submitted) for problem in self._problems_at(place)]
        strange = sorted(self.outcomes.keys() - self.submitted.keys())
        found += [f"{_named(place)}: an outcome of no event of ours" for place in strange]
        if credits_bought != self.credits_due():
            found.append(f"credits: {self.credits_due()} were due, {credits_bought} were charged")
        return found + [f"bought {times} times: {address.partition('?')[0]}" for address, times in bought_again.items()]

    def _problems_at(self, place: Place) -> Iterator[str]:
        event, outcomes = self.submitted[place].event, self.outcomes.get(place, [])
        where = f"{_named(place)} ({event.case})"
        if len(outcomes) != 1:
            yield f"{where}: {'no outcome' if not outcomes else f'{len(outcomes)} outcomes'}"
        for outcome in outcomes:
            got, due = (outcome.outcome, outcome.reason), (event.expected.outcome, event.expected.reason)
            if got != due:
                yield f"{where}: {_words(*got)} instead of {_words(*due)}"
            if _HOMES.get(outcome.outcome) != outcome.topic:
                yield f"{where}: {outcome.outcome} on {outcome.topic}"
            if outcome.outcome == DEAD_LETTER and outcome.value != (event.value or b""):
                yield f"{where}: the dead letter has other bytes than the event"


def _named(place: Place) -> str:
    return f"partition {place[0]} offset {place[1]}"


def _words(outcome: str, reason: str | None) -> str:
    return f"{outcome} {reason}" if reason else outcome


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank; NaN of nothing."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else math.nan
