"""A real Kafka of one to three brokers (KRaft, controller and broker in one process), on free ports of the loopback."""

from __future__ import annotations

import asyncio
import base64
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError

from tests.broker import coordinators
from tests.broker.coordinators import Coordinated
from tests.broker.ports import LOOPBACK, free_ports, held_port, listens
from tests.broker.proxy import FaultProxy, Route
from tests.broker.server import PLAIN, Additions, Broker
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START_SECONDS = 60


class KafkaCluster:
    """One to three brokers below a directory; every method that waits, waits for a fact that a client sees.

    `proxied`: clients that start at `proxied_bootstrap_servers` reach every broker through `proxy`, and only so.
    `disk_bytes`: each broker's data has a file system of this size; needs the right to mount (NoDiskError).
    """

    def __init__(
        self,
        home: Path,
        brokers: int = 1,
        *,
        proxied: bool = False,
        disk_bytes: int | None = None,
        additions: Additions = PLAIN,
    ) -> None:
        nodes = range(1, brokers + 1)
        ports = free_ports(3 * brokers)
        self._held = [held_port() for _ in nodes] if proxied else []
        routes = {
            node: Route(held.getsockname()[1], ports.pop()) for node, held in zip(nodes, self._held, strict=False)
        }
        self.brokers = tuple(
            Broker(
                node,
                home / f"broker-{node}",
                (ports.pop(), ports.pop()),
                route=routes.get(node),
                disk_bytes=disk_bytes,
                additions=additions,
            )
            for node in nodes
        )

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    @property
    def proxied_bootstrap_servers(self) -> str:
        """Where workers start; nobody answers there until `proxy` has been started."""
        return ",".join(f"{LOOPBACK}:{route.port}" for route in self._routes.values())

    def proxy(self, *, seed: int = 0) -> FaultProxy:
        """The way to the brokers for one test, one at a time; to be started."""
        return FaultProxy(self._routes, seed=seed)

    @property
    def _routes(self) -> dict[int, Route]:
        routes = {broker.node: broker.route for broker in self.brokers if broker.route is not None}
        assert routes, "the cluster was not made with proxied=True"
        return routes

    async def start(self) -> None:
        """Format and start all brokers; returns when clients see them all."""
        # The first letter is ours: one in 64 would be a dash, which Kafka's tool takes for an option.
        cluster_id = "K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()[1:]
        for broker in self.brokers:
            broker.configure(self.brokers)
        await asyncio.gather(*(asyncio.to_thread(broker.format, cluster_id) for broker in self.brokers))
        for broker in self.brokers:
            broker.start()
        await self.ready()

    def stop(self) -> None:
        """End every broker at once: nobody wants the data any more."""
        for broker in self.brokers:
            broker.kill()
            if broker.disk is not None:
                broker.disk.unmount()
        for held in self._held:
            held.close()

    def kill(self, node: int) -> None:
        """Kill -9 one broker."""
        self.brokers[node - 1].kill()

    async def restart(self, node: int) -> None:
        """Start a killed broker again, with its data and ports; returns when clients see it."""
        self.brokers[node - 1].start()
        await self.ready()

    def pause(self, node: int) -> None:
        """SIGSTOP one broker: connections stay open and nothing is answered."""
        self.brokers[node - 1].running.pause()

    def resume(self, node: int) -> None:
        self.brokers[node - 1].running.resume()

    async def coordinator(self, name: str, kind: Coordinated = Coordinated.GROUP) -> int:
        """The broker that coordinates this group or transactional id."""
        async with administrator(self.bootstrap_servers) as admin:
            return await coordinators.find(admin, name, kind)

    async def move_coordinator(self, name: str, kind: Coordinated = Coordinated.GROUP) -> int:
        """Move it to another broker while all live; needs all replicas in sync. Returns the new one."""
        async with administrator(self.bootstrap_servers) as admin:
            return await coordinators.move(admin, name, kind)

    async def fill_disk(self, node: int, seconds: float = 60) -> None:
        """Fill a broker's disk and wait until the broker has ended, as Kafka does when its only disk fails."""
        broker = self.brokers[node - 1]
        assert broker.disk is not None, "the cluster was not made with disk_bytes"
        broker.disk.fill()
        await broker.running.exited(seconds)

    async def free_disk(self, node: int) -> None:
        """Give the space back and start the broker again."""
        broker = self.brokers[node - 1]
        assert broker.disk is not None, "the cluster was not made with disk_bytes"
        broker.disk.free()
        await self.restart(node)

    async def ready(self) -> None:
        """Wait until a client sees every broker that runs."""
        expected = {broker.node for broker in self.brokers if broker.process and broker.process.alive}
        await wait_until(f"brokers {expected} are up", lambda: self._sees(expected), START_SECONDS, 0.1)

    async def _sees(self, expected: set[int]) -> bool:
        dead = [broker for broker in self.brokers if broker.node in expected and not broker.running.alive]
        assert not dead, f"broker {dead[0].node} ended by itself:\n{dead[0].running.tail()}"
        if not all([await listens(broker.port) for broker in self.brokers if broker.node in expected]):
            return False  # asking first spares the client's own logging of refused connections
        try:
            async with administrator(self.bootstrap_servers) as admin:
                seen = {broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]}
                await _find_coordinators(admin)
        except (KafkaError, OSError, TimeoutError):
            return False
        return expected <= seen

    async def create_topics(self, partitions: dict[str, int]) -> None:
        """Create topics (name: partitions), replicated on every broker; returns when each partition has its leader."""
        topics = [NewTopic(name, count, len(self.brokers)) for name, count in partitions.items()]
        async with administrator(self.bootstrap_servers) as admin:
            await admin.create_topics(topics)
            await wait_until(f"topics {partitions} exist", lambda: _have_leaders(admin, partitions), 30)

    async def add_partitions(self, topic: str, total: int) -> None:
        """Grow a topic to this many partitions."""
        async with administrator(self.bootstrap_servers) as admin:
            await admin.create_partitions({topic: NewPartitions(total)})
            await wait_until(f"{topic} has {total} partitions", lambda: _have_leaders(admin, {topic: total}), 30)


@asynccontextmanager
async def administrator(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for as long as the block runs."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _find_coordinators(admin: AIOKafkaAdminClient) -> None:
    """Raise until groups and transactions have coordinators; asking makes the broker create their topics."""
    for name in range(16):  # enough to meet each of the few partitions of both topics
        for kind in (0, 1):
            await admin.find_coordinator(f"probe-{name}", kind)


async def _have_leaders(admin: AIOKafkaAdminClient, partitions: dict[str, int]) -> bool:
    described = await admin.describe_topics(list(partitions))
    leaders = {
        topic["topic"]: sum(1 for part in topic["partitions"] if part["leader"] >= 0 and not part["error_code"])
        for topic in described
    }
    return all(leaders.get(name) == count for name, count in partitions.items())
