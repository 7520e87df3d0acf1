"""The demo's three acts, over the same topics and the same consumer group.

First a worker for API generation 2 (submit, then poll), stopped by SIGTERM; then one for generation 1 (one slow
call), which goes on where the first one's commits end. In the middle of both the API refuses some calls with 429
and 503. Then tracks pile up while there is no worker, and one that makes jobs of many tracks clears them. After it
has ended nothing can be published any more, and then everything is judged.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.console import Console

from worker.sandbox.api import SimulationConfig, Trouble
from worker.sandbox.process import WorkerEndedError, WorkerProcess
from worker.sandbox.report import Findings, job_requests, print_report, print_setting
from worker.sandbox.screen import Progress, screen_for
from worker.sandbox.stage import Stage, staged
from worker.sandbox.traffic import backlog_events, sample_events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.sandbox.screen import Screen
    from worker.sandbox.traffic import SampleEvent


@dataclass(frozen=True, slots=True)
class Act:
    """One worker and its API's generation. `backlog`: its tracks wait before it starts, and go in jobs."""

    name: str
    title: str
    generation: int
    backlog: bool = False


ACTS: Final = (
    Act("generation-2", "Act 1 of 3: a worker for API generation 2 (submit, then poll)", 2),
    Act("generation-1", "Act 2 of 3: a worker for API generation 1 (one slow call)", 1),
    Act("backlog", "Act 3 of 3: a worker for a backlog (API generation 1, by jobs)", 1, backlog=True),
)
JOINING: Final = " joins its group"
STREAM_SECONDS: Final = 5.0  # how long the events of the first two acts take to arrive, each
# Calls refused in each act, with 429 and 503. One track may meet every 429, each takes up to a third of its deadline.
THROTTLED, UNAVAILABLE = 2, 2
JITTER = 0.2  # of the analysis time: above a third the slow track might be done in time
_DRAW_SECONDS = 0.1
_STOP_SECONDS = 10.0
_LATEST = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown: events of the acts, the API's clock, a bound in real seconds, a directory for logs."""

    events: int  # of the first two acts, each
    backlog: int  # of the third
    seed: int
    time_scale: float
    limit_seconds: float
    directory: Path


@dataclass(slots=True)
class Troupe:
    """What the acts share: the plan, the stage, the screen, and what went wrong besides the outcomes."""

    plan: Plan
    stage: Stage
    screen: Screen
    began: float
    joined: bool = False  # the worker of this act
    faults: list[str] = field(default_factory=list)


async def perform(plan: Plan) -> bool:
    """Play it, print the report, and tell whether everything was as it should be."""
    console = Console(highlight=False)
    simulation = SimulationConfig(seed=plan.seed, time_scale=plan.time_scale, jitter=JITTER)
    async with staged(simulation) as stage, asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(stage.read())
        began = time.monotonic()
        print_setting(console, simulation, stage.broker.address, stage.api.base_url(1).removesuffix("/api/v1"))
        with screen_for(console) as screen:
            troupe = Troupe(plan, stage, screen, began)
            await _acts(troupe)
        reader.cancel()
        ledger = stage.api.ledger
        faults = troupe.faults + stage.board.problems(credits_bought=ledger.credits, bought_again=ledger.repeated)
        findings = Findings(stage.board, ledger, simulation, time.monotonic() - began, tuple(faults), plan.directory)
    print_report(console, findings)
    return not faults


async def _acts(troupe: Troupe) -> None:
    """Play the acts within the limit; what comes in the way becomes a fault that is told."""
    limit = troupe.plan.limit_seconds
    try:
        async with asyncio.timeout(limit):
            for act in ACTS:
                await _act(troupe, act)
            await troupe.stage.caught_up()
    except TimeoutError:
        troupe.faults.append(f"not done after {limit:g} s: what is missing follows")
    except WorkerEndedError as ended:
        troupe.faults.append(str(ended))


async def _act(troupe: Troupe, act: Act) -> None:
    stage, board, events = troupe.stage, troupe.stage.board, _events(troupe.plan, act)
    due, troupe.joined = len(board.submitted) + len(events), False
    for event in events if act.backlog else ():
        await stage.submit(event, act.generation, waited=True)
    settings = stage.sandbox(act.generation).settings() | {"COMMIT_INTERVAL_SECONDS": "0.1", "DRAIN_SECONDS": "5"}
    settings["MODE"] = "bulk" if act.backlog else "direct"
    worker = await WorkerProcess.start(settings, troupe.plan.directory / f"worker-{act.name}.log")
    stream = asyncio.create_task(_stream(troupe, act, () if act.backlog else events, worker))
    try:
        await _watched(troupe, act, due, worker, stream)
    finally:
        stream.cancel()
        code = await worker.stop(_STOP_SECONDS)
    if code != 0:
        troupe.faults.append(f"the worker answered SIGTERM with exit code {code}:\n{worker.tail()}")


def _events(plan: Plan, act: Act) -> list[SampleEvent]:
    if act.backlog:
        return backlog_events(plan.seed, plan.backlog)
    return sample_events(plan.seed, plan.events, generation=act.generation, prefix=f"gen{act.generation}")


async def _watched(troupe: Troupe, act: Act, due: int, worker: WorkerProcess, stream: asyncio.Task[None]) -> None:
    """Show how it goes until each event has an outcome."""
    while troupe.stage.board.settled < due:
        if stream.done():
            stream.result()
        worker.check()
        troupe.screen.show(await _look(troupe, act, worker))
        await asyncio.sleep(_DRAW_SECONDS)
    troupe.screen.show(await _look(troupe, act, worker))


async def _stream(troupe: Troupe, act: Act, events: Sequence[SampleEvent], worker: WorkerProcess) -> None:
    """Submit evenly once the worker is ready; let the API refuse some calls on the way."""
    stage = troupe.stage
    await worker.ready(stage.session)
    troupe.joined = True
    for number, event in enumerate(events):
        if number == len(events) // 3:
            stage.api.faults.set(Trouble.THROTTLE, count=THROTTLED)
        if number == len(events) * 2 // 3:
            stage.api.faults.set(Trouble.ERROR_503, count=UNAVAILABLE, on="analyze")
        await stage.submit(event, act.generation)
        await asyncio.sleep(STREAM_SECONDS / len(events))


async def _look(troupe: Troupe, act: Act, worker: WorkerProcess) -> Progress:
    stage, board = troupe.stage, troupe.stage.board
    figures = await worker.figures(stage.session)
    ledger = stage.api.ledger
    newest = islice(reversed(board.outcomes.values()), _LATEST)
    latest = [(board.submitted[each.place].event.case, each) for (each, *_) in newest if each.place in board.submitted]
    return Progress(
        act=act.title + ("" if troupe.joined else JOINING),
        seconds=time.monotonic() - troupe.began,
        total=sum(troupe.plan.backlog if each.backlog else troupe.plan.events for each in ACTS),
        submitted=len(board.submitted),
        settled=board.settled,
        by_topic=board.by_topic,
        in_flight=int(figures.get("in_flight", 0)),
        retrying=int(figures.get("partition_retrying", 0)),
        requests=ledger.requests.total(),
        refused=ledger.statuses[429],
        unavailable=ledger.statuses[503],
        credits=ledger.credits,
        jobs=ledger.jobs,
        job_tracks=ledger.job_items,
        job_requests=job_requests(ledger),
        latest=[(case, outcome.outcome, outcome.reason) for case, outcome in reversed(latest)],
    )
