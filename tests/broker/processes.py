"""Processes that a test starts, by their pid alone: whatever happens to the test, they end with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEASH = Path(__file__).with_name("leash.py")
REPOSITORY = Path(__file__).resolve().parents[2]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class ChildProcess:
    """One running program; its standard output and error go to a file.

    It has a session of its own, so that an interrupt at the terminal reaches it by way of the test's teardown.
    """

    def __init__(self, command: Sequence[str], output: Path, environment: Mapping[str, str] | None = None) -> None:
        self.output = output
        with output.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-ISE", str(LEASH), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=output.parent,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<pid {self.pid}, exit code {self.returncode}, output in {self.output}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it, or None while it runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def kill(self) -> None:
        """Kill -9, also of a stopped process, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        self._process.terminate()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and its opinion of itself."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def exited(self, seconds: float) -> int:
        """Wait for its end and return the exit code; TimeoutError with its last output if it does not end."""
        try:
            return await asyncio.to_thread(self._process.wait, seconds)
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError(f"{self} still runs after {seconds} s:\n{self.tail()}") from exc

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def peak_memory_bytes(self) -> int:
        """The highest resident set so far (proc(5), VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
