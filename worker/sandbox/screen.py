"""The demo's progress: a live display on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.sandbox.cases import DEAD_LETTER
from worker.sandbox.surroundings import TOPICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from rich.console import Console, RenderableType

COLOURS: Mapping[str, str] = {
    "approve": "green",
    "certified": "green",
    "manual_review": "yellow",
    "review": "yellow",
    "reject": "red",
    "rejected": "red",
    DEAD_LETTER: "magenta",
}
_TOPIC_COLOURS = {
    TOPICS["TOPIC_APPROVE"]: "green",
    TOPICS["TOPIC_REVIEW"]: "yellow",
    TOPICS["TOPIC_REJECT"]: "red",
    TOPICS["TOPIC_DEAD_LETTER"]: "magenta",
}
_BAR_COLUMNS = 40
_PLAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a running demo. Counts are since its start; `latest` are (case, outcome, reason), newest last."""

    act: str
    seconds: float
    total: int
    submitted: int
    settled: int
    by_topic: Mapping[str, int]
    in_flight: int
    retrying: int
    requests: int
    refused: int  # 429
    unavailable: int  # 503
    credits: int
    jobs: int  # of many tracks
    job_tracks: int
    job_requests: int
    latest: Sequence[tuple[str, str, str | None]]


class LiveScreen:
    """Redraws a few lines in place. They are gone when it ends: the report says it all again."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Draw this look."""
        self._live.update(drawn(progress))


class PlainScreen:
    """Prints a line a second, and one whenever the act changes or all is settled."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._act = ""
        self._due = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, progress: Progress) -> None:
        """Print this look if a line is due."""
        if progress.act != self._act:
            self._act = progress.act
            self._console.print(progress.act, highlight=False, markup=False)
        elif progress.seconds < self._due and progress.settled < progress.total:
            return
        self._due = progress.seconds + _PLAIN_SECONDS
        self._console.print(line(progress), highlight=False, markup=False)


Screen = LiveScreen | PlainScreen


def screen_for(console: Console) -> Screen:
    """Choose: live where the output is a terminal that can move its cursor."""
    return LiveScreen(console) if console.is_terminal and not console.is_dumb_terminal else PlainScreen(console)


def line(progress: Progress) -> str:
    """Say it in one plain line of at most 80 columns; once there are jobs, of them."""
    if progress.jobs:
        return (
            f"{progress.seconds:5.1f} s  settled {progress.settled}/{progress.total}"
            f"  {_jobs(progress)}  credits {progress.credits}"
        )
    return (
        f"{progress.seconds:5.1f} s  submitted {progress.submitted}/{progress.total}  settled {progress.settled}"
        f"  in flight {progress.in_flight}  429: {progress.refused}  credits {progress.credits}"
    )


def drawn(progress: Progress) -> RenderableType:
    """Say it in some lines: the act, the bar, the topics, the API, the latest outcomes."""
    return Group(Text(progress.act, style="bold"), _bar(progress), _topics(progress), _api(progress), _latest(progress))


def _bar(progress: Progress) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.total), completed=progress.settled, width=_BAR_COLUMNS)
    row.add_row(f"{progress.seconds:5.1f} s", bar, f"{progress.settled}/{progress.total} settled")
    return row


def _topics(progress: Progress) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    most = max([*progress.by_topic.values(), 1])
    for topic, colour in _TOPIC_COLOURS.items():
        count = progress.by_topic.get(topic, 0)
        # A width in proportion, so that the longest just fits.
        bar = Text("━" * round(count / max(most, _BAR_COLUMNS) * _BAR_COLUMNS), style=colour)
        rows.add_row(f"  {topic:<18}", Text(f"{count:>4}", style=colour), bar)
    return rows


def _api(progress: Progress) -> Text:
    waiting = progress.submitted - progress.settled
    return Text(
        f"  open {waiting}: in flight {progress.in_flight}, waiting for a retry {progress.retrying}\n"
        f"  API: {progress.requests} requests, 429 {progress.refused}, 503 {progress.unavailable}, "
        f"credits {progress.credits}\n"
        f"  {_jobs(progress)}",
        style="cyan",
    )


def _jobs(progress: Progress) -> str:
    return f"jobs {progress.jobs}: {progress.job_tracks} tracks in {progress.job_requests} requests"


def _latest(progress: Progress) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    for case, outcome, reason in progress.latest:
        word = Text(outcome, style=COLOURS.get(outcome, ""))
        rows.add_row(f"  {case[:26]:<26}", word, Text(reason or "", style="dim"))
    return rows
