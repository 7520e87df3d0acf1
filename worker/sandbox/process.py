"""The real worker, as its users start it: `python -m worker run` in a process of its own, told by its environment."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp
import orjson

from worker.sandbox.surroundings import environment

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping
    from pathlib import Path

_LOOK_AGAIN_SECONDS = 0.05
_ASK_SECONDS = 2.0
_TAIL_LINES = 12


class WorkerEndedError(Exception):
    """The worker ended although nobody asked it to. The text has its exit code and its last words."""


class WorkerProcess:
    """A running worker. It has a session of its own: Ctrl-C reaches it by way of `stop` only."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._address = ""
        self.log = log

    def __repr__(self) -> str:
        return f"<WorkerProcess pid={self._process.pid} exit={self._process.returncode}>"

    @classmethod
    async def start(cls, settings: Mapping[str, str], log: Path) -> WorkerProcess:
        """Start it in the log's directory, where no .env is; its output goes to the log."""
        own = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": "0", "LOG_FORMAT": "json"}
        with log.open("ab") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "worker", "run"),
                env=environment({**own, **settings}),
                cwd=log.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return cls(process, log)

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until it decides tracks, as its own /readyz says. Raises WorkerEndedError."""
        while not await self._is_ready(session):  # noqa: ASYNC110 - another process: nothing to wait on
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        self.check()
        if not self._address:
            self._address = self._announced()
        return bool(self._address) and await self._asked(session, "/readyz") is not None

    def check(self) -> None:
        """Raise WorkerEndedError if it has ended."""
        if self._process.returncode is not None:
            raise WorkerEndedError(f"the worker ended with exit code {self._process.returncode}:\n{self.tail()}")

    def _announced(self) -> str:
        for line in self.log.read_bytes().splitlines():
            with suppress(orjson.JSONDecodeError):  # the last line may be half written
                said = orjson.loads(line)
                if isinstance(said, dict) and said.get("event") == "listening":
                    host, port = said["address"]
                    return f"http://{host}:{port}"
        return ""

    async def figures(self, session: aiohttp.ClientSession) -> dict[str, float]:
        """Read its /metrics: each family's sum over its labels, without the common prefix; empty if it is silent."""
        text = await self._asked(session, "/metrics") if self._address else None
        sums: dict[str, float] = {}
        for line in (text or "").splitlines():
            if line.startswith("track_intake_"):
                name, _, value = line.rpartition(" ")
                short = name.partition("{")[0].removeprefix("track_intake_")
                sums[short] = sums.get(short, 0.0) + float(value)
        return sums

    async def _asked(self, session: aiohttp.ClientSession, path: str) -> str | None:
        try:
            async with session.get(self._address + path, timeout=aiohttp.ClientTimeout(_ASK_SECONDS)) as reply:
                return await reply.text() if reply.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def stop(self, seconds: float) -> int:
        """SIGTERM, and after so long SIGKILL; returns the exit code, or minus the signal that ended it."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def tail(self) -> str:
        """Its last words."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
