"""A real Kafka of one to three brokers (KRaft, controller and broker in one process), on free ports of the loopback."""

from __future__ import annotations

import asyncio
import base64
import socket
import subprocess
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError

from tests.broker.artifacts import java_path, kafka_classpath
from tests.broker.processes import ChildProcess
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

# Measured start-up: 2-3 s so; the server compiler and the concurrent collector only pay off in longer lives.
JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Xshare:auto")
START_SECONDS = 60
LOOPBACK = "127.0.0.1"

LOG4J = """\
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
appender.file.type=File
appender.file.name=file
appender.file.fileName={log}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d] %p %m (%c)%n
"""

SERVER = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
transaction.max.timeout.ms=60000
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
"""


class Broker:
    """One broker: its ports and its data outlive its process."""

    def __init__(self, node: int, home: Path, ports: tuple[int, int]) -> None:
        self.node = node
        self.home = home
        self.port, self.controller_port = ports
        self.process: ChildProcess | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def configure(self, brokers: Sequence[Broker]) -> None:
        """Write its configuration files."""
        self.home.mkdir(parents=True)
        settings = SERVER.format(
            node=self.node,
            voters=",".join(f"{peer.node}@{LOOPBACK}:{peer.controller_port}" for peer in brokers),
            host=LOOPBACK,
            port=self.port,
            controller_port=self.controller_port,
            data=self.home / "data",
            replicas=len(brokers),
            in_sync=len(brokers) // 2 + 1,
        )
        (self.home / "server.properties").write_text(settings)
        (self.home / "log4j2.properties").write_text(LOG4J.format(log=self.home / "server.log"))

    def format(self, cluster_id: str) -> None:
        """Prepare its storage, as Kafka's own tool does it."""
        arguments = ["format", "-t", cluster_id, "-c", str(self.home / "server.properties")]
        subprocess.run(self._java("kafka.tools.StorageTool", *arguments), check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Start it, on the same ports and data as ever; does not wait."""
        command = self._java("kafka.Kafka", str(self.home / "server.properties"))
        self.process = ChildProcess(command, self.home / "console.log")

    @property
    def running(self) -> ChildProcess:
        assert self.process is not None, f"broker {self.node} was never started"
        return self.process

    def kill(self) -> None:
        """Kill -9; harmless when it is gone."""
        if self.process is not None:
            self.process.kill()

    def _java(self, main: str, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self.home / 'log4j2.properties'}"
        return [java_path(), *JVM_FLAGS, log4j, "-cp", kafka_classpath(), main, *arguments]


class KafkaCluster:
    """One to three brokers below a directory; every method that waits, waits for a fact that a client sees."""

    def __init__(self, home: Path, brokers: int = 1) -> None:
        ports = free_ports(2 * brokers)
        self.brokers = tuple(
            Broker(node, home / f"broker-{node}", (ports[2 * node - 2], ports[2 * node - 1]))
            for node in range(1, brokers + 1)
        )

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    async def start(self) -> None:
        """Format and start all brokers; returns when clients see them all."""
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
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

    async def ready(self) -> None:
        """Wait until a client sees every broker that runs."""
        expected = {broker.node for broker in self.brokers if broker.process and broker.process.alive}
        await wait_until(f"brokers {expected} are up", lambda: self._sees(expected), START_SECONDS, 0.1)

    async def _sees(self, expected: set[int]) -> bool:
        dead = [broker for broker in self.brokers if broker.node in expected and not broker.running.alive]
        assert not dead, f"broker {dead[0].node} ended by itself:\n{dead[0].running.tail()}"
        if not all([await _listens(broker.port) for broker in self.brokers if broker.node in expected]):
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


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on; all held at once, so that they differ."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports: list[int] = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports
