"""Events in, decisions out: once each, in the order of their keys, and every record ends."""

from __future__ import annotations

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import POISON, Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.course import RetryPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import BoughtAgain, DeadLettered, RetryScheduled, TrackDecided


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_every_event_gets_one_decision_in_the_order_of_its_key(generation: int) -> None:
    scene = Scene(partitions=3, analyst=FakeAnalyst(generation))
    for number in range(120):
        key = b"%d" % (number % 7) if number % 3 else None
        scene.submit(f"track-{number}", number % 3, key, gap=number % 4 == 0)
    worker = scene.worker()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}
    assert len(worker.seen(TrackDecided)) == 120
    assert await worker.stop() == 0
    assert {decision["decision"] for decision in scene.decisions().values()} == {"approve"}
    assert [scene.point(each).watermark for each in range(3)] == [
        log[-1].offset + 1 for log in scene.broker.input.values()
    ]


@virtual
async def test_one_key_is_analysed_one_at_a_time_and_different_keys_at_once() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=2))
    for number in range(4):
        scene.submit(f"same-{number}", key=b"same")
        scene.submit(f"other-{number}", key=b"other-%d" % number)
        scene.submit(f"null-{number}")
    scene.worker()
    await scene.decided()
    began = scene.analyst.calls[0].at
    at = {call.item_id: round((call.at - began) / 2) for call in scene.analyst.calls}
    assert at == {
        **{f"same-{number}": number for number in range(4)},
        **{f"{kind}-{number}": 0 for number in range(4) for kind in ("other", "null")},
    }


@virtual
async def test_a_track_that_waits_for_a_retry_holds_no_slot() -> None:
    scene = Scene()
    scene.analyst.submissions["refused"].append(Fault(FaultKind.CONNECT_FAILED, "connect"))
    scene.submit("refused")
    scene.submit("next")
    worker = scene.worker(slots=1, retry=RetryPolicy(base_seconds=300, max_seconds=300))
    await until(lambda: "next" in scene.decisions())
    assert worker.calls.in_flight == 0
    assert [(fact.kind, fact.attempts) for fact in worker.seen(RetryScheduled)] == [("connect_failed", 1)]
    assert worker.worker.status().lanes[0].retrying == 1
    await scene.decided()
    assert scene.decisions()["refused"]["attempts"] == 2
    assert worker.seen(BoughtAgain) == []


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_a_track_without_a_result_goes_to_a_human_at_its_deadline(generation: int) -> None:
    scene = Scene(analyst=FakeAnalyst(generation))
    scene.analyst.slow["stuck"] = 10_000
    scene.submit("stuck", key=b"k")
    scene.submit("next", key=b"k")
    worker = scene.worker(retry=RetryPolicy(deadline_seconds=60))
    await elapse(55)
    assert scene.decisions() == {}
    await elapse(10)
    stuck = scene.decisions()["stuck"]
    assert (stuck["decision"], stuck["reason"]) == ("manual_review", "analysis_timeout")
    await scene.decided()
    assert scene.analyst.purchases == {"stuck": 1, "next": 1}
    assert worker.calls.in_flight == 0


@virtual
async def test_a_repeat_after_an_unknown_outcome_is_bounded_and_counted() -> None:
    scene = Scene()
    scene.analyst.submissions["doubtful"].extend([Fault(FaultKind.OUTCOME_UNKNOWN, "no answer")] * 3)
    scene.submit("doubtful")
    worker = scene.worker()
    await scene.decided()
    assert scene.decisions()["doubtful"]["reason"] == "analysis_failed"
    assert scene.analyst.purchases["doubtful"] == 2
    assert len(worker.seen(BoughtAgain)) == 1


@virtual
async def test_a_lost_job_is_bought_again_once() -> None:
    scene = Scene(analyst=FakeAnalyst(2, seconds=5))
    scene.submit("lost")
    worker = scene.worker()
    await until(lambda: scene.broker.history[0])
    assert set(scene.point().jobs) == {0}
    scene.analyst.forget_jobs()
    await scene.decided()
    assert scene.analyst.purchases["lost"] == 2
    assert [fact.cause for fact in worker.seen(BoughtAgain)] == ["job_unknown"]
    assert scene.point().jobs == {}


@virtual
async def test_poison_is_buried_in_its_place_and_in_the_same_transaction() -> None:
    scene = Scene()
    worker = scene.worker(commit_interval=60)
    scene.submit("first")
    await scene.decided()
    scene.submit("before", key=b"k")
    scene.submit_raw("poison", POISON, key=b"k")
    scene.submit("after", key=b"k")
    await scene.decided()
    assert [message.topic for message in scene.broker.visible] == ["approve", "approve", "dead-letter", "approve"]
    assert len(scene.broker.history[0]) == 2
    buried = scene.broker.visible[2]
    assert (buried.key, buried.value, dict(buried.headers)["dlq_error"]) == (b"k", POISON, b"not_json")
    assert [(fact.offset, fact.code) for fact in worker.seen(DeadLettered)] == [(2, "not_json")]


@virtual
async def test_poison_needs_no_slot() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=50))
    scene.submit("slow")
    scene.submit_raw("poison", None)
    scene.worker(slots=2)
    await until(lambda: len(scene.broker.visible) == 1, 10)
    assert scene.point().done == {1}
    await scene.decided()
