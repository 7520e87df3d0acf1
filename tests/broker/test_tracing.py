"""Traces of a real worker on a real Kafka: from the event's headers, by OTLP, into the decision's headers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.broker.collector import Collector
from tests.broker.topics import read_all
from tests.broker.traffic import TRACE, tracks
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from tests.broker.collector import Kept
    from tests.broker.conftest import SetStage

pytestmark = pytest.mark.broker
SEED = 20261121
EVENTS = 40
_, TRACE_ID, SENDER, _ = TRACE.split("-")


@pytest.mark.parametrize("generation", [1, 2])
async def test_a_trace_goes_through_the_worker(stage: SetStage, generation: int) -> None:
    async with Collector() as collector, stage(service_seconds=0.2) as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        worker = scene.start_worker(generation=generation, **collector.environment)
        await scene.until_done(EVENTS)
        named = {}
        for record in await read_all(scene.servers, scene.topics.outputs):
            headers = dict(record.headers)
            named[(headers["ce_id"] or b"").decode()] = (headers["traceparent"] or b"").decode().split("-")

        async def all_sent() -> bool:
            return len(of(collector, "process")) == EVENTS

        await wait_until("every track's span has been sent", all_sent, 20)
        worker.process.terminate()
        assert await worker.process.exited(20) == 0

        processed = {span.attributes["track_intake.decision_id"]: span for span in of(collector, "process")}
        assert processed.keys() == named.keys()
        for decision_id, (_, trace_id, span_id, flags) in named.items():
            span = processed[decision_id]
            assert (trace_id, span_id, flags) == (TRACE_ID, span.span_id, "01")
            assert (span.trace_id, span.parent_id, span.service) == (TRACE_ID, SENDER, "track-intake")
        ids = {span.span_id for span in processed.values()}
        parts = {"submit", "wait for a turn", "send"} | ({"poll"} if generation == 2 else set())
        for part in parts:
            assert {span.parent_id for span in of(collector, part)} == ids, part
        lines = [
            orjson.loads(line) for line in io.BytesIO(worker.process.output.read_bytes()) if b"track_decided" in line
        ]
        assert {line["decision_id"]: line["trace_id"] for line in lines} == dict.fromkeys(named, TRACE_ID)


async def test_a_collector_that_answers_nobody_delays_no_decision_and_the_end_by_seconds(stage: SetStage) -> None:
    async with Collector(deaf=True) as collector, stage(service_seconds=0.2) as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        worker = scene.start_worker(generation=1, **collector.environment)
        await scene.until_done(EVENTS)
        assert collector.requests > 0
        worker.process.terminate()
        assert await worker.process.exited(15) == 0
        (await scene.examine(seed=SEED)).require(except_for={"untraced"})  # the spans are our own


def of(collector: Collector, name: str) -> list[Kept]:
    return [span for span in collector.spans if span.name.startswith(name)]
