"""What a chaos run shows: its figures, and everything that broke a promise."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING

import orjson

from tests.broker.bad_input import KIND
from tests.broker.drive import read_log
from tests.chaos.plan import TRACKS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tests.broker.verify import Evidence
    from tests.chaos.faults import Injury
    from tests.chaos.run import Aftermath

MEMORY_BYTES = 300 << 20
LOOSE_SECONDS = 0.5  # what was committed before a fault may still arrive so long after it
# What the policy in force (two-tier) makes of a finding. A failure on the way turns any of them into a review.
RIGHT = {"human": "approve", "inconclusive": "approve", "ai": "reject"}
NAMED = re.compile(rb"sandbox=([a-z-]+)")
REVIEW = "manual_review"


def broken_promises(aftermath: Aftermath) -> list[str]:
    """Every promise that the run broke; empty where all is well."""
    found = [aftermath.verdict.report] if aftermath.verdict.violations else []
    # Of two workers on one seat one has to go, and says why.
    found += [f"a worker ended by itself: {crash}" for crash in aftermath.crashes if "SeatTakenError" not in crash]
    found += [f"exit code {code} after SIGTERM at the end" for code in aftermath.exit_codes if code]
    found += _wrongly_decided(aftermath.evidence)
    if aftermath.peak_memory_bytes > MEMORY_BYTES:
        found.append(f"a worker used {aftermath.peak_memory_bytes >> 20} MiB")
    return found


def _wrongly_decided(evidence: Evidence) -> Iterator[str]:
    """A failure may cost a review; it never turns one decision into another."""
    for outcome in evidence.outcomes:
        event, decision = evidence.events.get(outcome.place), outcome.decision
        named = NAMED.search(event.value or b"") if event is not None else None
        if event is None or named is None or decision is None or KIND in dict(event.headers):
            continue  # odd events may name a policy of their own
        allowed = {REVIEW, RIGHT.get(named[1].decode(), REVIEW)}
        if decision["decision"] not in allowed:
            yield f"{outcome.place}: a finding {named[1].decode()!r} became {decision['decision']!r}"


def figures(aftermath: Aftermath) -> str:
    """The run in numbers, a line for each thing."""
    options, verdict, ledger = aftermath.options, aftermath.verdict, aftermath.ledger
    causes = _repurchases(aftermath.evidence)
    decided = Counter(f"{row['decision']} {row.get('reason') or ''}".strip() for row in _decisions(aftermath.evidence))
    share = ledger["credits"] / max(1, ledger["tracks"])
    memory = aftermath.peak_memory_bytes / (1 << 20)
    lines = [
        f"seed {options.seed}, generation {options.generation}, faults for {options.seconds:g} s",
        f"{options.events_per_second:g} events/s, an analysis takes {options.service_seconds:g} s ± 30 %",
        f"rests are {options.calm:g} times as long",
        f"events {verdict.events}: decisions {verdict.decisions}, dead letters {verdict.dead_letters}",
        ", ".join(f"{kind} {verdict.count(kind)}" for kind in ("lost", "repeated", "out_of_order", "leaked")),
        f"decided: {_counted(decided)}",
        f"faults {len(aftermath.injuries)}: {_counted(Counter(injury.step.kind for injury in aftermath.injuries))}",
        f"the API's own: {_counted(ledger['faults'])}",
        f"credits {ledger['credits']}, {share:.4f} for each track bought",
        f"bought again {verdict.bought_again}; for the API's faults at most {sum(causes.values())}: {_counted(causes)}",
        f"requests {_counted(ledger['requests'])}; at most {ledger['analyses_in_flight_max']} analyses in flight",
        *(_recovery(aftermath, what) for what in ("kill_9", "broker_killed", "brokers_unreachable")),
        f"peak memory of a worker {memory:.0f} MiB; ended by itself {len(aftermath.crashes)}",
        f"exit codes at the end {[*aftermath.exit_codes]}",
    ]
    return "\n".join(lines)


def _recovery(aftermath: Aftermath, kind: str) -> str:
    """Silence of the partitions concerned (none named: each one) from the fault's beginning; with the API well."""
    hit = [injury for injury in aftermath.injuries if injury.step.kind.startswith(kind)]
    whole = frozenset(outcome.place.partition for outcome in aftermath.evidence.outcomes)
    alone, mixed = list[float](), list[float]()
    for injury in hit:
        silence = _silence(aftermath, injury.partitions or whole, injury.began, every=not injury.partitions)
        if silence is not None:
            (mixed if _is_mixed(injury, aftermath.injuries) else alone).append(silence)
    return f"silence after {kind}: {_spread(alone)}; with other faults at the same time: {_spread(mixed)}"


def _is_mixed(injury: Injury, injuries: Sequence[Injury]) -> bool:
    """Whether a fault of another track was at work within five seconds of its beginning."""
    others = (other for other in injuries if other.step.track != injury.step.track)
    quiet = {card.kind for card in TRACKS["api"] if card.lasts == (0.0, 0.0)}
    return any(
        other.began < injury.began + 5 and other.ended > injury.began - 1 and other.step.kind not in quiet
        for other in others
    )


def _silence(aftermath: Aftermath, partitions: Collection[int], at: float, *, every: bool) -> float | None:
    """Seconds until these partitions decide again, as a consumer sees it; `every`: the last of them."""
    times: dict[int, list[float]] = {partition: [] for partition in partitions}
    for when, partition in aftermath.timeline:
        if at <= when < at + 60 and partition in times:
            times[partition].append(when)
    each = times.values() if every else [list(chain.from_iterable(times.values()))]
    gaps = [_gap(at, sorted(found)) for found in each]
    return max((gap for gap in gaps if gap is not None), default=None)


def _gap(at: float, times: Sequence[float]) -> float | None:
    edges = [at, *times]
    return max(
        (later - earlier for earlier, later in zip(edges, times, strict=False) if earlier <= at + LOOSE_SECONDS),
        default=None,
    )


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    return f"p50 {median(seconds):.1f} s, max {max(seconds):.1f} s (of {len(seconds)})"


def _decisions(evidence: Evidence) -> Iterator[dict[str, object]]:
    return (dict(outcome.decision) for outcome in evidence.outcomes if outcome.decision is not None)


def _repurchases(evidence: Evidence) -> Counter[str]:
    """Submissions that were repeated because the API lost an answer, as the workers' logs count them, by cause."""
    return Counter(
        line["cause"]
        for path in evidence.logs
        for line in read_log(path)
        if line.get("event") == "analysis_bought_again"
    )


def _counted(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1])) or "none"


def timeline(seen: Sequence[tuple[float, bytes]]) -> list[tuple[float, int]]:
    """(Unix seconds of arrival, input partition) of each decision that a consumer saw."""
    found = list[tuple[float, int]]()
    for at, value in seen:
        try:
            found.append((at, orjson.loads(value)["source"]["partition"]))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a dead letter: as it came
    return found
