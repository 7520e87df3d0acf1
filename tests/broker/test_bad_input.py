"""Bad and odd events through a real worker: each has exactly one outcome, as it must be, and no payload is logged."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.broker.bad_input import UNSTOPPED, bad_input, marked
from tests.broker.bad_values import MARK
from tests.broker.raw_traffic import submit_raw
from tests.broker.traffic import DEAD_LETTER, DECISION, EXPECTATION, Event, tracks
from tests.broker.verify import judge
from tests.raw_batches import GZIP, LZ4, NONE, SNAPPY, ZSTD, RawName
from worker.adapters.kafka import tolerant_records

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage

pytestmark = pytest.mark.broker
SEED = 20261006
COUNT = int(os.environ.get("BAD_INPUT_EVENTS", "2000"))  # 10,000 take about a minute
BUFFER_BYTES = 16 << 20
GROWTH_BYTES = 128 << 20  # what is buffered, several times over: as fetched, decoded, encoded and sent


async def test_each_bad_or_odd_event_has_exactly_one_outcome(stage: SetStage) -> None:
    """Unaltered in the dead letters, with nothing of a payload in the log, in bounded memory."""
    async with stage(service_seconds=0.02) as scene:
        events = bad_input(COUNT, run=scene.run, partitions=8, seed=SEED)
        worker = scene.start_worker(generation=1, MAX_BUFFERED_BYTES=str(BUFFER_BYTES), **UNSTOPPED)
        await scene.until_shared_by(1)
        before = worker.process.peak_memory_bytes()
        await scene.submit(events)
        await scene.until_done(COUNT, seconds=60 + COUNT / 50)
        grown = worker.process.peak_memory_bytes() - before
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.events == COUNT
        expected = [dict(event.headers).get(EXPECTATION) for event in events]
        assert verdict.decisions >= expected.count(DECISION)
        assert verdict.dead_letters >= expected.count(DEAD_LETTER)
        assert verdict.bought_again == 0
        assert marked(events) > COUNT / 2
        assert MARK.encode() not in worker.log.read_bytes()
        assert grown < GROWTH_BYTES


def with_odd_names(events: list[Event]) -> list[Event]:
    """Every other event gets a header whose name is no text; of these every third is no event, besides."""
    odd = ((RawName(b"\xfftenant"), b"\xff"), (RawName(b"caf\xe9"), None))
    return [
        event
        if number % 2
        else replace(event, value=b"no event", headers=((EXPECTATION, DEAD_LETTER), *odd))
        if number % 3 == 0
        else replace(event, headers=(*odd, *event.headers))
        for number, event in enumerate(events)
    ]


async def test_header_names_that_are_no_text_stop_nobody(stage: SetStage) -> None:
    """Whatever the codec: good events around them are decided, they themselves become what their values are."""
    tolerant_records.install()  # for this process, which reads the input back
    codecs = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
    async with stage(service_seconds=0.02, partitions=2) as scene:
        worker = scene.start_worker(generation=1, **UNSTOPPED)
        await scene.until_shared_by(1)
        for codec in codecs:
            events = with_odd_names(tracks(60, run=scene.run, partitions=2, seed=SEED, first=60 * codec))
            await submit_raw(scene.servers, scene.topics.submitted, events, codec)
        await scene.until_done(60 * len(codecs))
        assert await worker.stop() == 0
        evidence = await scene.evidence()
        verdict = judge(evidence, seed=SEED)
        verdict.require()
        assert (verdict.decisions, verdict.dead_letters) == (50 * len(codecs), 10 * len(codecs))
        letters = [outcome.record for outcome in evidence.outcomes if outcome.decision is None]
        assert {letter.value for letter in letters} == {b"no event"}
        assert {letter.headers[1:3] for letter in letters} == {(("\ufffdtenant", b"\xff"), ("caf\ufffd", None))}
