"""How each fault of a plan is done to a run, and undone again. A fault returns when the world is whole again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from tests.broker import topics as broker_view
from tests.broker.disk import NEEDED
from tests.broker.waiting import wait_until
from tests.chaos.fleet import SETTLED_EXITS, clock_library

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.broker.kafka import KafkaCluster
    from tests.broker.processes import ChildProcess
    from tests.broker.proxy import FaultProxy
    from tests.broker.scene import Scene
    from tests.chaos.fleet import Fleet, Seat
    from tests.chaos.plan import Step

SEATS = 3
MOST_PARTITIONS = 24
STOP_SECONDS = 60.0
HOUR = 3_600
END_TXN, TXN_OFFSET_COMMIT, PRODUCE = 26, 28, 0  # Kafka's numbers of the requests whose replies get lost
ODD_BODIES = 3  # a body that cannot be read costs the credit that it was to report on: few of them


@dataclass(slots=True)
class Injury:
    """One fault as it happened: Unix seconds, and the partitions it took from their worker."""

    step: Step
    began: float
    ended: float = 0.0
    partitions: frozenset[int] = frozenset()
    note: str = ""


@dataclass(slots=True)
class Faults:
    """Injects what a plan says. `injuries` tells what was done, in order of the beginnings."""

    scene: Scene
    cluster: KafkaCluster
    proxy: FaultProxy
    fleet: Fleet
    has_disks: bool  # of their own, so that one can be full
    injuries: list[Injury] = field(default_factory=list)

    async def inject(self, step: Step) -> None:
        """Do one fault, for as long as it lasts."""
        deed: Callable[[Step, Injury], Awaitable[None]] = getattr(self, f"_{step.kind}")
        injury = Injury(step, time.time())
        self.injuries.append(injury)
        await deed(step, injury)
        injury.ended = time.time()

    # Processes.

    async def _kill_9(self, step: Step, injury: Injury) -> None:
        seat = self.fleet.choose(step.target)
        injury.partitions = await self._owned(seat)
        injury.began = self.fleet.kill(seat)
        self.fleet.start(seat.number)

    async def _kill_9_again(self, step: Step, injury: Injury) -> None:
        await self._kill_9(step, injury)

    async def _zombie(self, step: Step, injury: Injury) -> None:
        """Asleep for longer than the session: its partitions move, and then it wakes up."""
        process = self.fleet.process(self.fleet.choose(step.target)).process
        process.pause()
        try:
            await asyncio.sleep(step.seconds)
        finally:
            process.resume()
        injury.note = f"pid {process.pid}"

    async def _usurped_seat(self, step: Step, injury: Injury) -> None:
        """Its seat is taken while it sleeps, as by an orchestrator that lost sight of a node. One of the two goes."""
        seat = self.fleet.choose(step.target)
        usurped = self.fleet.process(seat).process
        usurped.pause()
        try:
            self.fleet.start(seat.number)
            await asyncio.sleep(step.seconds)
        finally:
            usurped.resume()
        injury.note = await self._until_one_has_it(seat, usurped)

    async def _until_one_has_it(self, seat: Seat, usurped: ChildProcess) -> str:
        heir = self.fleet.process(seat).process

        async def settled() -> str:
            if not usurped.alive:
                return f"the usurped worker left with {usurped.returncode}"
            return "" if heir.alive else f"the heir left with {heir.returncode}"

        outcome = await wait_until("one of two workers leaves a seat to the other", settled, STOP_SECONDS)
        usurped.kill()  # where the heir left, the supervisor has started another: nobody looks after this one
        return outcome

    async def _sigterm(self, step: Step, injury: Injury) -> None:
        seat = self.fleet.choose(step.target)
        injury.note = f"exit code {await self._stop(seat)}"
        self.fleet.start(seat.number)

    async def _join(self, step: Step, injury: Injury) -> None:
        free = [number for number in range(1, SEATS + 1) if number not in {seat.number for seat in self.fleet.taken()}]
        if free:
            self.fleet.start(free[0])
        injury.note = f"{len(self.fleet.taken())} workers"
        await asyncio.sleep(step.seconds)

    async def _leave(self, step: Step, injury: Injury) -> None:
        if len(self.fleet.taken()) > 1:
            await self._stop(self.fleet.choose(step.target))
        injury.note = f"{len(self.fleet.taken())} workers"
        await asyncio.sleep(step.seconds)

    async def _clock_set_back(self, step: Step, injury: Injury) -> None:
        self.fleet.set_back(self.fleet.choose(step.target), HOUR)
        if clock_library() is None:
            injury.note = "not done: libfaketime is not installed"
        await asyncio.sleep(step.seconds)

    async def _partitions_added(self, _step: Step, injury: Injury) -> None:
        """As an operator would: whose request meets a broker that is away makes it again."""
        wanted: int | None = None

        async def grown() -> bool:
            nonlocal wanted
            topic = self.scene.topics.submitted
            try:
                partitions = len(await broker_view.ends(self.scene.servers, topic))
                wanted = wanted or min(partitions + 1, MOST_PARTITIONS)
                if partitions < wanted:
                    await self.cluster.add_partitions(topic, wanted)
            except (KafkaError, OSError, TimeoutError):
                return False
            return True

        await wait_until("a partition is added", grown, STOP_SECONDS, 0.5)
        injury.note = f"{wanted} partitions"

    async def _stop(self, seat: Seat) -> int:
        self.fleet.measure()
        code = await self.fleet.process(seat).stop(STOP_SECONDS)
        assert code in SETTLED_EXITS, f"{seat.instance} was told to stop and ended with {code}"
        return code

    async def _owned(self, seat: Seat) -> frozenset[int]:
        """The partitions that this worker says it has; none while it starts."""
        try:
            samples = await self.fleet.process(seat).metrics()
        except AssertionError:
            return frozenset()
        prefix = "track_intake_partition_watermark_offset{partition="
        return frozenset(int(name.split('"')[1]) for name in samples if name.startswith(prefix))

    # Brokers.

    def _broker(self, step: Step) -> int:
        return 1 + step.target % len(self.cluster.brokers)

    async def _broker_killed(self, step: Step, injury: Injury) -> None:
        node = self._broker(step)
        injury.note = f"broker {node}"
        self.cluster.kill(node)
        await asyncio.sleep(step.seconds)
        await self.cluster.restart(node)

    async def _broker_asleep(self, step: Step, injury: Injury) -> None:
        node = self._broker(step)
        injury.note = f"broker {node}"
        self.cluster.pause(node)
        try:
            await asyncio.sleep(step.seconds)
        finally:
            self.cluster.resume(node)
        await self.cluster.ready()

    async def _disk_full(self, step: Step, injury: Injury) -> None:
        """A broker that cannot write ends by itself; it comes back when there is room again."""
        node = self._broker(step)
        injury.note = f"broker {node}"
        if not self.has_disks:
            injury.note = f"not done: {NEEDED}"
            return
        await self.cluster.fill_disk(node)
        await asyncio.sleep(step.seconds)
        await self.cluster.free_disk(node)

    async def _coordinator_moved(self, _step: Step, injury: Injury) -> None:
        moved = await self.cluster.move_coordinator(self.scene.group)
        injury.note = f"to broker {moved}"

    async def _brokers_unreachable(self, step: Step, _injury: Injury) -> None:
        """For longer than the transaction time-out, for every worker; the brokers themselves are well."""
        self.proxy.blackhole()
        await asyncio.sleep(step.seconds)
        self.proxy.heal(reset=bool(step.target % 2))

    async def _connections_reset(self, _step: Step, _injury: Injury) -> None:
        self.proxy.reset()

    async def _network_slow(self, step: Step, _injury: Injury) -> None:
        self.proxy.delay(seconds=0.15, jitter_seconds=0.2)
        await asyncio.sleep(step.seconds)
        self.proxy.heal()

    async def _replies_lost(self, step: Step, injury: Injury) -> None:
        """Brokers do what they were asked, and the worker does not learn of it."""
        before = self.proxy.lost_replies()
        for number in (END_TXN, TXN_OFFSET_COMMIT, PRODUCE):
            self.proxy.cut_replies(api_key=number)
            await asyncio.sleep(step.seconds / 3)
        self.proxy.heal()
        injury.note = f"{self.proxy.lost_replies() - before} replies"

    # The API.

    async def _while(self, step: Step, **faults: object) -> None:
        await self.scene.simulator.switch(**faults)
        await asyncio.sleep(step.seconds)
        await self.scene.simulator.switch(**dict.fromkeys(faults, 0))

    async def _throttle(self, step: Step, _injury: Injury) -> None:
        await self._while(step, throttle=0.5)

    async def _throttle_without_retry_after(self, step: Step, _injury: Injury) -> None:
        await self._while(step, throttle_bare=0.5)

    async def _error_500(self, step: Step, _injury: Injury) -> None:
        await self._while(step, error_500=0.2)

    async def _error_502_html(self, step: Step, _injury: Injury) -> None:
        await self._while(step, error_502_html=0.2)

    async def _error_503(self, step: Step, _injury: Injury) -> None:
        await self._while(step, error_503=0.3)

    async def _cdn_refused(self, step: Step, _injury: Injury) -> None:
        await self._while(step, cdn_refused=1)

    async def _key_revoked(self, step: Step, _injury: Injury) -> None:
        await self._while(step, key_revoked=1)

    async def _slow_body(self, step: Step, _injury: Injury) -> None:
        await self._while(step, slow_body=0.2)

    async def _outage(self, step: Step, _injury: Injury) -> None:
        """Nobody answers sensibly, in more ways than one."""
        await self._while(step, drop_before_accept=0.5, error_503=1)

    async def _drop_after_accept(self, _step: Step, _injury: Injury) -> None:
        await self._some("drop_after_accept", on="jobs" if self.fleet.webhook_port is not None else "analyze")

    async def _never_ends(self, _step: Step, _injury: Injury) -> None:
        await self._some("never_ends", on="analyze")

    async def _not_json(self, _step: Step, _injury: Injury) -> None:
        await self._some("not_json", on="any")

    async def _wrong_types(self, _step: Step, _injury: Injury) -> None:
        await self._some("wrong_types", on="any")

    async def _some(self, fault: str, *, on: str) -> None:
        """Let a few calls meet it, and wait until they have."""
        before = (await self.scene.simulator.ledger())["faults"].get(fault, 0)
        await self.scene.simulator.switch(**{fault: {"rate": 1, "count": ODD_BODIES, "on": on}})

        async def met() -> bool:
            ledger = await self.scene.simulator.ledger()
            return fault == "never_ends" or ledger["faults"].get(fault, 0) >= before + ODD_BODIES

        await wait_until(f"{ODD_BODIES} calls met {fault}", met, STOP_SECONDS)
