"""One broker of a real Kafka as a process: its configuration, its ports and its data, which outlive the process."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.broker.artifacts import java_path, kafka_classpath
from tests.broker.disk import SmallDisk
from tests.broker.ports import LOOPBACK
from tests.broker.processes import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.broker.proxy import Route

# Measured start-up: 2-3 s so; the server compiler and the concurrent collector only pay off in longer lives.
JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Xshare:auto")

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
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{proxied}
advertised.listeners=PLAINTEXT://{host}:{port}{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
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


@dataclass(frozen=True, slots=True)
class Additions:
    """What a broker of a special kind has beyond the above; a property that is named twice counts as it comes last."""

    properties: Callable[[int, int], str] = lambda _port, _controller_port: ""
    format_options: tuple[str, ...] = ()
    java_options: tuple[str, ...] = ()


PLAIN = Additions()


class Broker:
    """One broker: its ports and its data outlive its process."""

    def __init__(
        self,
        node: int,
        home: Path,
        ports: tuple[int, int],
        *,
        route: Route | None,
        disk_bytes: int | None,
        additions: Additions = PLAIN,
    ) -> None:
        self.node = node
        self.home = home
        self.port, self.controller_port = ports
        self.route = route
        self.disk = None if disk_bytes is None else SmallDisk(home / "disk", disk_bytes)
        self.additions = additions
        self.process: ChildProcess | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def configure(self, brokers: Sequence[Broker]) -> None:
        """Write its configuration files."""
        self.home.mkdir(parents=True)
        if self.disk is not None:
            self.disk.mount()
        settings = SERVER.format(
            node=self.node,
            voters=",".join(f"{peer.node}@{LOOPBACK}:{peer.controller_port}" for peer in brokers),
            host=LOOPBACK,
            port=self.port,
            controller_port=self.controller_port,
            proxied=f",PROXIED://{LOOPBACK}:{self.route.broker_port}" if self.route else "",
            advertised=f",PROXIED://{LOOPBACK}:{self.route.port}" if self.route else "",
            data=self.home / "data" if self.disk is None else self.disk.path / "data",
            replicas=len(brokers),
            in_sync=len(brokers) // 2 + 1,
        )
        more = self.additions.properties(self.port, self.controller_port)
        (self.home / "server.properties").write_text(settings + more)
        (self.home / "log4j2.properties").write_text(LOG4J.format(log=self.home / "server.log"))

    def format(self, cluster_id: str) -> None:
        """Prepare its storage, as Kafka's own tool does it."""
        arguments = ["format", "-t", cluster_id, "-c", str(self.home / "server.properties")]
        arguments += self.additions.format_options
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
        options = [*JVM_FLAGS, *self.additions.java_options]
        log4j = f"-Dlog4j2.configurationFile={self.home / 'log4j2.properties'}"
        return [java_path(), *options, log4j, "-cp", kafka_classpath(), main, *arguments]
