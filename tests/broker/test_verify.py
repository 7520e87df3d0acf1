"""The verifier sees what it is there to see: each way to spoil a sound run is found, under its own name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.broker.contracts import (
    ATTRIBUTES,
    DEAD_LETTER_HEADERS,
    ECHOES,
    SCHEMAS,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    decision_mistakes,
)
from tests.broker.drive import API_KEY
from tests.broker.topics import Topics
from tests.broker.traffic import DEAD_LETTER, EXPECTATION, SECRET, poison, tracks
from tests.broker.verify import Evidence, Place, judge
from worker.domain.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOPICS = Topics.of("run")
EVENTS = 40

EXAMPLES = orjson.loads((SCHEMAS / "track-decision.v1.json").read_bytes())["examples"]

Outputs = list[Record]


def sound() -> Evidence:
    """A run in which everything went well: 40 tracks with a few keys, and some poison, on two partitions."""
    events = [*tracks(EVENTS, run="run", partitions=2, seed=1), *poison(2)]
    offsets = [0, 0]
    inputs = []
    for event in events:
        offset = offsets[event.partition]
        offsets[event.partition] += 1
        inputs.append(Record(TOPICS.submitted, event.partition, offset, 0, event.key, event.value, event.headers))
    return Evidence(
        TOPICS, inputs, [outcome(record, number) for number, record in enumerate(inputs)], mistakes=flawless
    )


def flawless(_decision: object, _headers: object) -> tuple[str, ...]:
    return ()


def outcome(event: Record, number: int) -> Record:
    """What the worker should make of an event; `number` is its place in the order of publication."""
    if dict(event.headers)[EXPECTATION] == DEAD_LETTER:
        told = {SOURCE_PARTITION: b"%d" % event.partition, SOURCE_OFFSET: b"%d" % event.offset}
        told["dlq_topic"] = event.topic.encode()
        source = tuple((name, told.get(name, b"x")) for name in DEAD_LETTER_HEADERS)
        return Record(TOPICS.dead_letter, 0, number, 0, event.key, event.value, event.headers + source)
    item = orjson.loads(event.value or b"")["item_id"]
    decision = {
        "item_id": item,
        "decision": "approve",
        "decision_id": f"id-{event.partition}-{event.offset}",
        "decided_at": f"2026-01-01T00:00:{number:02}Z",
        "source": {"partition": event.partition, "offset": event.offset},
    }
    return Record(TOPICS.approve, 0, number, 0, event.key or item.encode(), orjson.dumps(decision), event.headers[1:])


def edited(record: Record, **changes: Any) -> Record:
    return replace(record, value=orjson.dumps(orjson.loads(record.value or b"") | changes))


def siblings(outputs: Outputs) -> tuple[int, int]:
    """Two decisions of one key, from one partition, in order."""
    latest: dict[tuple[bytes | None, int], int] = {}
    for index, record in enumerate(outputs[:EVENTS]):
        owner = (record.key, orjson.loads(record.value or b"")["source"]["partition"])
        if owner in latest:
            return latest[owner], index
        latest[owner] = index
    raise AssertionError("no key came twice")


def lose(outputs: Outputs) -> None:
    del outputs[5]


def repeat(outputs: Outputs) -> None:
    outputs.append(replace(outputs[5], offset=900))


def repeat_dead_letter(outputs: Outputs) -> None:
    outputs.append(replace(outputs[-1], offset=900))


def repeat_on_another_topic(outputs: Outputs) -> None:
    outputs.append(replace(edited(outputs[5], decision="reject"), topic=TOPICS.reject))


def invent(outputs: Outputs) -> None:
    outputs.append(edited(outputs[5], source={"partition": 1, "offset": 10_000}, decision_id="new"))


def share_id(outputs: Outputs) -> None:
    outputs[5] = edited(outputs[5], decision_id=orjson.loads(outputs[6].value or b"")["decision_id"])


def other_key(outputs: Outputs) -> None:
    outputs[5] = replace(outputs[5], key=b"other")


def no_key(outputs: Outputs) -> None:
    outputs[5] = replace(outputs[5], key=None)


def other_topic(outputs: Outputs) -> None:
    outputs[5] = replace(outputs[5], topic=TOPICS.review)


def alter(outputs: Outputs) -> None:
    outputs[-1] = replace(outputs[-1], value=b"else")


def alter_headers(outputs: Outputs) -> None:
    outputs[-1] = replace(outputs[-1], headers=tuple(reversed(outputs[-1].headers)))


def alter_one_header(outputs: Outputs) -> None:
    first, (name, _), *rest = outputs[-1].headers
    outputs[-1] = replace(outputs[-1], headers=(first, (name, b"else"), *rest))


def lose_trace(outputs: Outputs) -> None:
    outputs[5] = replace(outputs[5], headers=())


def decide_poison(outputs: Outputs) -> None:
    decision = edited(outputs[0], decision_id="x", source={"partition": 0, "offset": 0})
    place = {"partition": int(dict(outputs[-1].headers)[SOURCE_PARTITION] or b""), "offset": 0}
    place["offset"] = int(dict(outputs[-1].headers)[SOURCE_OFFSET] or b"")
    outputs[-1] = replace(edited(decision, source=place), key=outputs[-1].key, offset=900, headers=())


def swap_published(outputs: Outputs) -> None:
    first, second = siblings(outputs)
    one, two = outputs[first], outputs[second]
    outputs[first], outputs[second] = replace(one, offset=two.offset), replace(two, offset=one.offset)


def swap_decided(outputs: Outputs) -> None:
    first, _ = siblings(outputs)
    outputs[first] = edited(outputs[first], decided_at="2026-01-01T01:00:00+00:00")


def leak(outputs: Outputs) -> None:
    outputs[5] = edited(outputs[5], error=f"cannot load https://audio.example/?token={SECRET}5")


def leak_in_header(outputs: Outputs) -> None:
    outputs[5] = replace(outputs[5], headers=(*outputs[5].headers, ("reason", API_KEY.encode())))


SPOILERS: dict[Callable[[Outputs], None], set[str]] = {
    lose: {"lost"},
    repeat: {"repeated"},
    repeat_dead_letter: {"repeated"},
    repeat_on_another_topic: {"repeated"},
    invent: {"invented"},
    share_id: {"shared_id"},
    other_key: {"wrong_key"},
    no_key: {"wrong_key"},
    other_topic: {"wrong_topic"},
    alter: {"altered"},
    alter_headers: {"altered"},
    alter_one_header: {"altered"},
    lose_trace: {"untraced"},
    decide_poison: {"wrong_kind"},
    swap_published: {"out_of_order"},
    swap_decided: {"decided_out_of_order"},
    leak: {"leaked"},
    leak_in_header: {"leaked"},
}


def test_a_sound_run_is_sound() -> None:
    verdict = judge(sound(), seed=1)
    verdict.require()
    assert (verdict.events, verdict.decisions) == (EVENTS + len(poison(2)), EVENTS)
    assert verdict.dead_letters == len(poison(2))


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_each_fault_is_named(spoil: Callable[[Outputs], None]) -> None:
    """And nothing else is: a verifier that cries wolf is switched off."""
    evidence = sound()
    outputs = list(evidence.outputs)
    spoil(outputs)
    verdict = judge(replace(evidence, outputs=outputs), seed=1)
    assert {violation.kind for violation in verdict.violations} == SPOILERS[spoil]
    with pytest.raises(AssertionError, match="seed 1"):
        verdict.require()
    verdict.require(except_for=SPOILERS[spoil])


def test_malformed_decisions_and_purchases_are_counted() -> None:
    evidence = replace(sound(), mistakes=lambda *_: ["bad"], repeated={"a": 2, "b": 4})
    verdict = judge(evidence, seed=1)
    assert (verdict.count("malformed"), verdict.bought_again) == (EVENTS, 4)


@pytest.mark.parametrize("decision", EXAMPLES, ids=lambda example: example["decision_id"])
def test_a_decision_is_held_against_the_schema_and_its_headers(decision: dict[str, Any]) -> None:
    """The schema's own examples pass; without any one required field or header, or with a false echo, they do not."""
    headers = tuple((name, str(decision[ECHOES[name]]).encode() if name in ECHOES else b"x") for name in ATTRIBUTES)
    assert not [*decision_mistakes(decision, headers)]
    for name in ("analysis", "policy", "source", "metadata", "attempts"):
        assert [*decision_mistakes({key: value for key, value in decision.items() if key != name}, headers)]
    for index, (name, _) in enumerate(headers):
        assert [*decision_mistakes(decision, headers[:index] + headers[index + 1 :])]
        if name in ECHOES:
            assert [*decision_mistakes(decision, (*headers, (name, b"else")))]


def test_a_clock_that_jumps_is_not_held_against_the_order() -> None:
    evidence = sound()
    outputs = list(evidence.outputs)
    swap_decided(outputs)
    judge(replace(evidence, outputs=outputs, one_clock=False), seed=1).require()


def test_secrets_in_logs_are_found_and_the_history_cites_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = [{"partition": 0, "offset": 0, "event": "track_decided"}, {"event": f"GET ?token={SECRET}7"}]
    log.write_bytes(b"\n".join(map(orjson.dumps, lines)) + b"\nno json\n")
    evidence = replace(sound(), logs=[log], outputs=[])
    verdict = judge(evidence, seed=7)
    assert (verdict.count("leaked"), verdict.count("lost")) == (1, len(evidence.inputs))
    assert "seed 7" in verdict.report
    assert Place(0, 0) in evidence.events
