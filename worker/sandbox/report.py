"""The demo's last page: outcomes, times, credits, dead letters, a sample of each kind, and what to look at next."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.sandbox.api.bulk import JOB_OPERATIONS
from worker.sandbox.broker import GUARANTEE
from worker.sandbox.cases import DEAD_LETTER
from worker.sandbox.outcomes import percentile
from worker.sandbox.screen import COLOURS
from worker.sandbox.surroundings import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from worker.sandbox.api import Ledger, SimulationConfig
    from worker.sandbox.outcomes import Board, Outcome, Submitted

_NEXT = (
    ("policy show two-tier", "the whole decision table of a policy; also certification, strict, permissive"),
    ("sandbox", "this simulated API and broker, to point a worker or your own tests at"),
    ("settings", "every setting in force, or what is still missing"),
    ("run", "in earnest: needs KAFKA_BOOTSTRAP_SERVERS and HS_API_KEY"),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is known at the end. `faults`: what is not as it should be, a text each."""

    board: Board
    ledger: Ledger
    simulation: SimulationConfig
    seconds: float
    faults: Sequence[str]
    directory: Path


def print_report(console: Console, findings: Findings) -> None:
    """Print it all; the verdict comes last, where the eye is."""
    pairs = list(findings.board.pairs())
    outcomes = [outcome for _, outcome in pairs]
    scale = findings.simulation.time_scale
    for table in (_outcomes(outcomes), _dead_letters(outcomes), _times(pairs, scale), _credits(findings, outcomes)):
        console.print(table)
    _print_samples(console, outcomes)
    _print_next(console)
    _print_verdict(console, findings)


def _table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _outcomes(outcomes: Sequence[Outcome]) -> Table:
    table = _table("Outcomes", "topic", "decision", "reason", "count", numbers=("count",))
    counts = Counter((each.topic, each.outcome, each.reason) for each in outcomes if each.outcome != DEAD_LETTER)
    for (topic, word, reason), count in sorted(counts.items(), key=str):
        table.add_row(topic, Text(word, style=COLOURS.get(word, "")), reason or "", str(count))
    dead = [each for each in outcomes if each.outcome == DEAD_LETTER]
    for topic in sorted({each.topic for each in dead}):
        table.add_row(topic, Text("no event", style=COLOURS[DEAD_LETTER]), "see below", str(len(dead)))
    return table


def _dead_letters(outcomes: Sequence[Outcome]) -> Table:
    table = _table("Dead letters", "code", "field", "count", numbers=("count",))
    counts = Counter((each.reason, each.path) for each in outcomes if each.outcome == DEAD_LETTER)
    for (code, path), count in sorted(counts.items(), key=str):
        table.add_row(code, path or "(the whole)", str(count))
    return table


def _times(pairs: Sequence[tuple[Submitted, Outcome]], scale: float) -> Table:
    title = f"Real seconds from submitted to published (the API's clock: {scale:g} times too fast)"
    table = _table(title, "what", "events", "p50", "p95", numbers=("events", "p50", "p95"))
    for name, belongs in _groups():
        seconds = [(after.at_ms - before.at_ms) / 1000 for before, after in pairs if belongs(before, after)]
        if seconds:
            shown = (f"{percentile(seconds, share):.2f}" for share in (0.5, 0.95))
            table.add_row(name, str(len(seconds)), *shown)
    return table


def _groups() -> Iterator[tuple[str, Callable[[Submitted, Outcome], bool]]]:
    def analysed(generation: int) -> Callable[[Submitted, Outcome], bool]:
        return lambda before, after: before.generation == generation and not before.waited and _is_analysed(after)

    yield "decided, generation 2", analysed(2)
    yield "decided, generation 1", analysed(1)
    yield "the backlog: worker's start and jobs", lambda before, _: before.waited
    yield "given up at the deadline", lambda _, after: after.reason == "analysis_timeout"
    yield "dead letters", lambda _, after: after.outcome == DEAD_LETTER


def _is_analysed(outcome: Outcome) -> bool:
    return outcome.outcome != DEAD_LETTER and outcome.reason != "analysis_timeout"


def _credits(findings: Findings, outcomes: Sequence[Outcome]) -> Table:
    table = _table("Credits and requests", "what", "count", numbers=("count",))
    ledger, due = findings.ledger, findings.board.credits_due()
    decisions = sum(outcome.outcome != DEAD_LETTER for outcome in outcomes)
    table.add_row("decisions", str(decisions))
    table.add_row("decisions that need an analysis", str(due))
    table.add_row("credits charged", str(ledger.credits))
    table.add_row("credits for each of these decisions", f"{ledger.credits / max(1, due):.3f}")
    table.add_row("tracks bought more than once", str(len(ledger.repeated)))
    table.add_row("requests: submissions", str(ledger.requests["analyze"]))
    table.add_row("requests: polls", str(ledger.requests["status"]))
    table.add_row(f"requests: {ledger.jobs} jobs made, asked for and read", str(job_requests(ledger)))
    table.add_row("tracks in these jobs", str(ledger.job_items))
    table.add_row("tracks for each request of a job", f"{ledger.job_items / max(1, job_requests(ledger)):.1f}")
    table.add_row("refused with 429, then repeated", str(ledger.statuses[429]))
    table.add_row("refused with 503, then repeated", str(ledger.statuses[503]))
    return table


def job_requests(ledger: Ledger) -> int:
    """Count the requests that were for jobs of many tracks."""
    return sum(ledger.requests[operation] for operation in JOB_OPERATIONS)


def _print_samples(console: Console, outcomes: Sequence[Outcome]) -> None:
    console.print("One decision of each kind, shortened", style="bold")
    kinds: dict[tuple[str, str | None], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.body is not None:
            kinds.setdefault((outcome.outcome, outcome.reason), []).append(outcome)
    for _, samples in sorted(kinds.items(), key=str):
        shown = min((shortened(sample.body) for sample in samples if sample.body is not None), key=_dullness)
        text = Text(json.dumps(shown), style=COLOURS.get(shown["decision"], ""))
        console.print(Padding(text, (0, 0, 0, 2)))
    console.print()


def shortened(body: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a person looks at first: the outcome's own fields, the policy's name, the tiers."""
    beside = ("decision_id", "policy", "analysis", "source", "metadata", "attempts", "decided_at")
    head = {name: _counted(value) for name, value in body.items() if name not in beside}
    return head | {"policy": body["policy"]["name"], "tiers": body["analysis"]["tier_verdicts"]}


def _counted(value: object) -> object:
    return f"{len(value)} values" if isinstance(value, list) else value


def _dullness(shown: Mapping[str, Any]) -> tuple[int, int]:
    """Fewest nulls first, then the shortest: the sample that shows its kind best."""
    return sum(value is None for value in shown.values()), len(str(shown))


def print_setting(console: Console, simulation: SimulationConfig, brokers: str, api: str) -> None:
    """Tell before the start what is real and what is not."""
    real = simulation.service_seconds / simulation.time_scale
    _print_block(
        console,
        "What you see",
        f"The real worker as a process of its own. The API is simulated ({api}), its clock runs "
        f"{simulation.time_scale:g} times too fast: an analysis of {simulation.service_seconds:g} s takes {real:.2f} s,"
        f" and its quota of {simulation.rate_limit_per_minute} requests a minute and the deadline of"
        f" {DEADLINE_SECONDS:g} s shrink alike. Kafka and the worker keep their own pace.",
        f"The broker is embedded ({brokers}): librdkafka's mock, which drops transactional offsets. So this runs with "
        f"GUARANTEE={GUARANTEE}. On a real Kafka the default is exactly_once, and `make test` proves it there.",
    )


def _print_block(console: Console, title: str, *paragraphs: str) -> None:
    console.print(title, style="bold")
    for paragraph in paragraphs:
        console.print(Padding(paragraph, (0, 0, 0, 2)))
    console.print()


def _print_next(console: Console) -> None:
    program = f"{os.path.relpath(sys.executable)} -m worker"
    console.print("Look at next", style="bold")
    for command, text in _NEXT:
        console.print(f"  {program} {command}", style="cyan", soft_wrap=True)
        console.print(Padding(text, (0, 0, 0, 6)))
    console.print("  README.md: how it works, settings, contracts, operation\n")


def _print_verdict(console: Console, findings: Findings) -> None:
    events = len(findings.board.submitted)
    if not findings.faults:
        console.print(
            f"OK: {events} events in {findings.seconds:.0f} s, each with the one outcome it should have; "
            "nothing lost, nothing repeated, nothing bought twice.",
            style="bold green",
        )
        return
    console.print(f"NOT OK: {len(findings.faults)} faults among {events} events", style="bold red")
    for fault in findings.faults:
        console.print(f"  {fault}", markup=False)
    console.print(f"The worker's logs: {findings.directory}")
