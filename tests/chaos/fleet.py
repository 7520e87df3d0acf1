"""The workers of a chaos run: seats of a group, each with a process, a static member id and a clock of its own."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.broker.drive import WorkerProcess
    from tests.broker.scene import Scene

_LIBRARIES = tuple(
    Path(folder) / "faketime" / "libfaketimeMT.so.1"
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
)
# As asked; at the drain's deadline; killed by us; told to stop before Python could install a handler.
SETTLED_EXITS = frozenset({0, 4, -9, -15})


def clock_library() -> Path | None:
    """The library that can set a process's wall clock back (Debian: libfaketime); None where it is not installed."""
    return next((path for path in _LIBRARIES if path.exists()), None)


@dataclass(slots=True)
class Seat:
    """A place in the group: one static member id, whoever sits there."""

    number: int
    clock: Path
    worker: WorkerProcess | None = None
    back_seconds: int = 0

    @property
    def instance(self) -> str:
        return f"seat-{self.number}"


@dataclass(slots=True)
class Fleet:
    """Up to three workers; whoever ends by itself is started again, as an orchestrator would, and that is noted."""

    scene: Scene
    servers: str
    generation: int
    settings: Mapping[str, str]
    seats: dict[int, Seat] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    peak_memory_bytes: int = 0
    webhook_port: int | None = None  # of the first seat, who alone is told of jobs

    def start(self, number: int) -> Seat:
        """Let a new process take this seat, whether or not the one before still lives."""
        seat = self.seats.get(number)
        if seat is None:
            seat = Seat(number, self.scene.home / f"clock-{number}")
            self.seats[number] = seat
        self._set(seat)
        seat.worker = self.scene.start_worker(
            generation=self.generation,
            **(dict(self.settings) | self._clock(seat) | self._webhooks(number)),
            KAFKA_BOOTSTRAP_SERVERS=self.servers,
            KAFKA_GROUP_INSTANCE_ID=seat.instance,
        )
        return seat

    def taken(self) -> list[Seat]:
        """Seats whose process lives, in order."""
        return [seat for _, seat in sorted(self.seats.items()) if seat.worker and seat.worker.process.alive]

    def choose(self, target: int) -> Seat:
        """One of them."""
        taken = self.taken()
        return taken[target % len(taken)]

    def kill(self, seat: Seat) -> float:
        """Kill -9; returns when (Unix seconds)."""
        self.measure()
        process = self.process(seat).process
        at = time.time()
        process.kill()
        return at

    def set_back(self, seat: Seat, seconds: int) -> None:
        """Set the wall clock of this seat's process back by so much more."""
        seat.back_seconds += seconds
        self._set(seat)

    def replace_crashed(self) -> None:
        """Start again what has ended by itself. Killed ones are their fault's own to restart."""
        for seat in list(self.seats.values()):
            code = seat.worker.process.returncode if seat.worker else None
            if seat.worker is not None and code is not None and code not in SETTLED_EXITS:
                self.crashes.append(f"{seat.worker}:\n{seat.worker.process.tail(5)}")
                self.start(seat.number)

    def measure(self) -> None:
        """Note the highest memory of any worker so far."""
        for seat in self.taken():
            with suppress(FileNotFoundError, StopIteration):  # it may end just now; a dead process has no memory
                peak = self.process(seat).process.peak_memory_bytes()
                self.peak_memory_bytes = max(self.peak_memory_bytes, peak)

    def process(self, seat: Seat) -> WorkerProcess:
        """Whoever sits there."""
        assert seat.worker is not None, f"{seat.instance} was never taken"
        return seat.worker

    def _webhooks(self, number: int) -> dict[str, str]:
        if self.webhook_port is None:
            return {}
        return {"WEBHOOK_PORT": str(self.webhook_port if number == 1 else 0)}

    @staticmethod
    def _set(seat: Seat) -> None:
        seat.clock.write_text(f"-{seat.back_seconds}\n")

    @staticmethod
    def _clock(seat: Seat) -> dict[str, str]:
        library = clock_library()
        if library is None:
            return {}
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(seat.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
