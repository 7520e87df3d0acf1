"""A cause that every track would meet alike stops admission; it turns no track into a decision."""

from __future__ import annotations

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import AdmissionHeld, AdmissionResumed

REFUSED = Fault(FaultKind.KEY_REFUSED, "401")


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_a_refused_key_decides_nothing_is_probed_and_heals(generation: int) -> None:
    scene = Scene(analyst=FakeAnalyst(generation))
    for number in range(40):
        scene.submit(f"track-{number}")
    scene.analyst.refusing = REFUSED
    worker = scene.worker(slots=8, probe=5.0)
    await until(lambda: scene.analyst.calls)
    await elapse(1)
    at_once = len(scene.analyst.calls)
    assert at_once <= 8
    await elapse(600)
    assert 118 <= len(scene.analyst.calls) - at_once <= 121
    assert scene.broker.visible == []
    assert worker.worker.status().held == "key_refused"
    assert [fact.reason for fact in worker.seen(AdmissionHeld)] == ["key_refused"]
    scene.analyst.refusing = None
    await scene.decided(seconds=60)
    assert [fact.reason for fact in worker.seen(AdmissionResumed)] == ["key_refused"]
    assert set(scene.analyst.purchases.values()) == {1}
    assert {decision["attempts"] for decision in scene.decisions().values()} >= {1}


@virtual
async def test_one_probe_at_a_time_however_long_it_takes() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=50))
    for number in range(10):
        scene.submit(f"track-{number}")
        scene.analyst.submissions[f"track-{number}"].append(REFUSED)
    worker = scene.worker(slots=4, probe=5.0)
    await until(lambda: worker.seen(AdmissionHeld))
    for number in range(10):
        scene.analyst.submissions[f"track-{number}"].clear()
    before = len(scene.analyst.calls)
    await elapse(40)
    assert len(scene.analyst.calls) == before + 1
    await scene.decided()


@virtual
async def test_a_probe_that_ends_without_an_answer_is_followed_by_another() -> None:
    scene = Scene()
    for number in range(5):
        scene.submit(f"track-{number}")
        scene.analyst.submissions[f"track-{number}"].extend([REFUSED, Fault(FaultKind.CONNECT_FAILED, "connect")])
    scene.worker(slots=2, probe=5.0)
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_poll_that_is_refused_keeps_its_job() -> None:
    scene = Scene(analyst=FakeAnalyst(2, seconds=10))
    scene.submit("track")
    worker = scene.worker(first_poll=10)
    await until(lambda: scene.analyst.purchases["track"])
    scene.analyst.refusing = REFUSED
    await until(lambda: worker.seen(AdmissionHeld))
    await elapse(60)
    scene.analyst.refusing = None
    await scene.decided()
    assert scene.analyst.purchases == {"track": 1}


@virtual
async def test_a_poll_that_succeeds_does_not_prove_that_there_are_credits() -> None:
    """Jobs bought before end as ever while submissions are refused: only a submission can lift that hold."""
    scene = Scene(analyst=FakeAnalyst(2, seconds=60))
    for number in range(8):
        scene.submit(f"paid-{number}")
    worker = scene.worker(slots=16, first_poll=1.0)
    await until(lambda: len(scene.analyst.purchases) == 8)
    scene.analyst.refusing_submissions = Fault(FaultKind.CREDITS_EXHAUSTED, "402")
    for number in range(40):
        scene.submit(f"unpaid-{number}")
    await elapse(100)
    assert len(scene.broker.visible) == 8
    refused = sum(call.operation == "submit" for call in scene.analyst.calls) - 8
    assert refused <= 8 + 100 / 5
    assert worker.seen(AdmissionResumed) == []
    scene.analyst.refusing_submissions = None
    await scene.decided()
