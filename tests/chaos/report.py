"""What a chaos run shows: its figures, and everything that broke a promise."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from math import inf
from statistics import median
from typing import TYPE_CHECKING

import orjson

from tests.broker.bad_input import KIND
from tests.broker.drive import read_log
from tests.broker.verify import Place
from tests.chaos.plan import TRACKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.broker.verify import Evidence
    from tests.chaos.faults import Injury
    from tests.chaos.run import Aftermath

MEMORY_BYTES = 300 << 20
FELT_SECONDS = 5.0  # so long after its end a fault may still be felt
# These answer with Retry-After until the end of the API's minute, and workers do as they are told.
RETRY_AFTER, RETRY_AFTER_SECONDS = frozenset({"throttle", "error_503", "outage"}), 60.0
LOOSE_SECONDS = 0.5  # what one transaction has committed reaches a consumer within so long
SLOWEST = 1.3  # times the mean: the simulator's slowest analysis
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
    """The longest silence of a partition concerned (none named: of any), for faults that were alone and others."""
    decisions = _decisions_by_partition(aftermath)
    alone, mixed = list[float](), list[float]()
    for injury in aftermath.injuries:
        if injury.step.kind.startswith(kind):
            partitions = injury.partitions or decisions.keys()
            felt = injury.began, injury.ended + FELT_SECONDS
            longest = max((silence(decisions.get(partition, ()), *felt) for partition in partitions), default=0.0)
            (mixed if _is_mixed(injury, aftermath.injuries) else alone).append(longest)
    return f"silence after {kind}: {_spread(alone)}; with other faults at the same time: {_spread(mixed)}"


def _is_mixed(injury: Injury, injuries: Sequence[Injury]) -> bool:
    """Whether a fault of another track was felt while this one was; those of a track leave each other time."""
    quiet = {card.kind for card in TRACKS["api"] if card.lasts == (0.0, 0.0)}
    return any(
        other.began < injury.ended + FELT_SECONDS and injury.began < other.ended + _felt_seconds(other)
        for other in injuries
        if other.step.track != injury.step.track and other.step.kind not in quiet
    )


def _felt_seconds(injury: Injury) -> float:
    return RETRY_AFTER_SECONDS if injury.step.kind in RETRY_AFTER else FELT_SECONDS


def silence(decisions: Sequence[tuple[float, float]], began: float, ended: float) -> float:
    """The longest time in which one partition decided nothing though something was due; 0 where that never was.

    `decisions`: when a consumer saw each, in this order, and when it was due at the latest had all been well. Nothing
    counts before `began`, nor what fell due after `ended`.
    """
    longest, last = 0.0, began
    for number in range(bisect_right(decisions, (began, inf)), len(decisions)):
        seen = decisions[number][0]
        together = decisions[number : bisect_right(decisions, (seen + LOOSE_SECONDS, inf))]
        silent_from = max(last, min(due for _, due in together))
        if silent_from < ended:
            longest = max(longest, seen - silent_from)
        last = seen
    return longest


def _decisions_by_partition(aftermath: Aftermath) -> dict[int, list[tuple[float, float]]]:
    """When a consumer saw each decision, and when it was due: the slowest analysis after its event was written."""
    events, slowest = aftermath.evidence.events, SLOWEST * aftermath.options.service_seconds
    found = defaultdict[int, list[tuple[float, float]]](list)
    for seen, place in sorted(aftermath.timeline):
        if place in events:
            found[place.partition].append((seen, events[place].timestamp_ms / 1000 + slowest))
    return found


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


def timeline(seen: Sequence[tuple[float, bytes]]) -> list[tuple[float, Place]]:
    """(Unix seconds of arrival, its event's place) of each decision that a consumer saw."""
    found = list[tuple[float, Place]]()
    for at, value in seen:
        try:
            source = orjson.loads(value)["source"]
            found.append((at, Place(source["partition"], source["offset"])))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a dead letter: as it came
    return found
