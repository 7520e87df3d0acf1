"""What an outage makes of tracks whose answer is known, or may have been paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.domain.analysis import Analysis, AnalysisStatus
from worker.flow.breaker import BreakerPolicy
from worker.flow.course import RetryPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault, Finished, Reply
from worker.pipeline.facts import BoughtAgain, OutageBegan

if TYPE_CHECKING:
    from worker.domain.submission import TrackSubmitted

BROKEN = Fault(FaultKind.SERVER_ERROR, "504")
DOWN = Fault(FaultKind.UNAVAILABLE, "503")
RETRY = RetryPolicy(max_attempts=3, base_seconds=0.5, max_seconds=5, deadline_seconds=120)
BREAKER = BreakerPolicy(consecutive=5, concurrency=16)


class Unreadable(FakeAnalyst):
    """Answers some submissions with a failed analysis: the API has looked at the track, and says so."""

    def __init__(self, items: set[str]) -> None:
        super().__init__(1, seconds=1)
        self._items = items

    async def submit(self, track: TrackSubmitted) -> Reply:
        reply = await super().submit(track)
        if track.item_id in self._items and isinstance(reply.result, Finished):
            return Reply(Finished(Analysis(AnalysisStatus.FAILED, error="audio_load_failed")), reply.quota)
        return reply


@virtual
async def test_an_outage_of_answers_that_may_be_billed_buys_no_track_without_bound() -> None:
    """A 504 may have been billed: the probes of an outage of an hour do not buy the same track again and again."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=10))
    for number in range(20):
        scene.submit(f"track-{number}")
    scene.analyst.refusing = BROKEN
    worker = scene.worker(retry=RETRY, breaker=BREAKER)
    await until(lambda: worker.seen(OutageBegan))
    await elapse(3600)
    assert max(scene.analyst.purchases.values()) <= RETRY.max_attempts


@virtual
async def test_every_repeat_that_may_be_billed_is_told() -> None:
    """Else `analyses_bought_again_total` says nothing of the credits that an outage costs."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=10))
    for number in range(20):
        scene.submit(f"track-{number}")
    scene.analyst.refusing = BROKEN
    worker = scene.worker(retry=RETRY, breaker=BREAKER)
    await until(lambda: worker.seen(OutageBegan))
    await elapse(600)
    scene.analyst.refusing = None
    await scene.decided()
    again = sum(count - 1 for count in scene.analyst.purchases.values())
    assert len(worker.seen(BoughtAgain)) == again


@virtual
async def test_a_failed_analysis_is_an_answer_also_while_an_outage_ends() -> None:
    """It was bought: it is decided, and not submitted again because an earlier attempt met the outage."""
    names = [f"track-{number}" for number in range(40)]
    scene = Scene(analyst=Unreadable(set(names[:3])))
    for name in names:
        scene.submit(name)
    scene.analyst.refusing = DOWN
    worker = scene.worker(retry=RETRY, breaker=BREAKER)
    await until(lambda: worker.seen(OutageBegan))
    await elapse(60)
    scene.analyst.refusing = None
    await scene.decided()
    assert {name: count for name, count in scene.analyst.purchases.items() if count > 1} == {}
