"""The processes of a run: the simulated API and the worker, each on its own, as an operator would start them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.processes import REPOSITORY, ChildProcess
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

READY_SECONDS = 30
API_KEY = "hs-test-key-that-no-log-may-show"  # long and odd enough to be found wherever it leaks


class Simulator:
    """The simulated API in its own process."""

    def __init__(self, home: Path, **options: float) -> None:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "worker.sandbox.api", "--port=0", f"--api-key={API_KEY}", *flags]
        self.process = ChildProcess(command, home / "simulator.log", _environment({}))
        self._addresses: dict[str, str] = {}

    async def ready(self) -> None:
        """Wait for its first line, which says where it listens."""
        self._addresses = await wait_until("the simulator listens", self._announced, READY_SECONDS)

    async def _announced(self) -> dict[str, str] | None:
        assert self.process.alive, f"the simulator ended by itself:\n{self.process.tail()}"
        line, end, _ = self.process.output.read_bytes().partition(b"\n")
        return orjson.loads(line) if end else None

    def base_url(self, generation: int) -> str:
        return self._addresses[f"generation_{generation}"]

    async def ledger(self) -> dict[str, Any]:
        """What it was asked for and what it charged."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self._addresses['address']}/_sandbox/ledger")
        found: dict[str, Any] = orjson.loads(answer.raise_for_status().content)
        return found

    async def switch(self, **faults: object) -> None:
        """Switch faults: a rate, or an object of rate, count and on; 0 switches one off."""
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self._addresses['address']}/_sandbox/faults", json=faults)).raise_for_status()

    async def bought(self, credits_: int, seconds: float = 60) -> dict[str, Any]:
        """Wait until so many analyses have been bought; returns the ledger."""

        async def enough() -> dict[str, Any] | None:
            ledger = await self.ledger()
            return ledger if ledger["credits"] >= credits_ else None

        return await wait_until(f"{credits_} analyses are bought", enough, seconds, 0.02)


class WorkerProcess:
    """`python -m worker run`, with its own log file; its settings are the environment alone."""

    def __init__(self, home: Path, name: str, settings: Mapping[str, str]) -> None:
        self.name = name
        [self._port] = free_ports(1)
        own = {"HTTP_HOST": LOOPBACK, "HTTP_PORT": str(self._port), "KAFKA_CLIENT_ID": name}
        folder = home / name
        folder.mkdir(exist_ok=True)
        self.process = ChildProcess(
            [sys.executable, "-m", "worker", "run"], folder / "log.jsonl", _environment({**settings, **own})
        )

    def __repr__(self) -> str:
        return f"<worker {self.name} {self.process}>"

    @property
    def log(self) -> Path:
        return self.process.output

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Every complete line of its log; what is not JSON comes as {"text": …}."""
        return read_log(self.log)

    async def readiness(self) -> tuple[int, str]:
        """Status and body of /readyz; (0, "") while nobody answers."""
        return await self._get("/readyz", seconds=2)

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, as `name{label="value"}`."""
        status, text = await self._get("/metrics", seconds=5)
        assert status == httpx.codes.OK, (status, text)
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def status(self) -> str:
        """The body of /status: what waits for what; empty while nobody answers."""
        return (await self._get("/status", seconds=5))[1]

    async def ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it is ready: it has partitions, and nothing holds it."""
        await self.answers(httpx.codes.OK, seconds)

    async def answers(self, status: int, seconds: float) -> None:
        """Wait until readiness answers with this status."""

        async def same() -> bool:
            assert self.process.alive, f"{self} ended by itself:\n{self.process.tail()}"
            return (await self.readiness())[0] == status

        await wait_until(f"/readyz of {self} says {status}", same, seconds)

    async def stop(self, seconds: float = 30) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return await self.process.exited(seconds)

    async def _get(self, path: str, seconds: float) -> tuple[int, str]:
        try:
            async with httpx.AsyncClient(timeout=seconds) as client:
                answer = await client.get(f"http://{LOOPBACK}:{self._port}{path}")
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Every complete line of a log; what is no JSON object comes as {"text": …}."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = None
        yield found if isinstance(found, dict) else {"text": line.decode(errors="replace")}


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Only what a program needs to run, and these settings: nothing of the developer's own environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **settings}


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}" if labels else ""
