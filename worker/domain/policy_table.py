"""The complete decision table of a policy, and the checks that follow from it.

Conditions can tell only finitely many kinds of evidence apart: each status, mock or not, each value of each tier,
each class of origin, and for each score its absence and the bands between the thresholds that the policy names.
One representative of every combination goes through the engine itself, so what is said here is exact:

- a rule is unreachable when no combination gets to it; the rules and guards that take its cases are named;
- nothing is approved without the word human at human_safe, nothing certified without it at press_safe or
  against an origin that names a generator;
- nothing is rejected unless some tier says suspicious.

Scores and origins that a policy does not ask for are left out: they cannot change its rulings.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from worker.domain.analysis import AnalysisStatus, OriginClass, Tier, TierValue
from worker.domain.conditions import Evidence, Score, ScoreIn
from worker.domain.policy import GUARDS, NEGATIVE, POSITIVE, Policy, Rule, Ruling, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MAX_COMBINATIONS = 400_000  # about two seconds; the built-in policies have at most 1,152

Cells = tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that evidence can differ in. `values` holds a representative of each kind."""

    name: str
    values: tuple[Any, ...]

    def label(self, cell: frozenset[int]) -> str:
        """Say a set of values (by their places) in few words."""
        if len(cell) == len(self.values):
            return "any"
        if self.name in tuple(Score):
            return _score_label(self.values, cell)
        left_out = set(range(len(self.values))) - cell
        if len(left_out) == 1 and len(cell) > 1:
            return f"not {_word(self.values[left_out.pop()])}"
        return " or ".join(_word(self.values[place]) for place in sorted(cell))


@dataclass(frozen=True, slots=True)
class Row:
    """All combinations of one value from each cell, which all get this ruling. Cells hold places of values."""

    cells: Cells
    ruling: Ruling

    @property
    def combinations(self) -> int:
        """How many combinations the row stands for."""
        return math.prod(len(cell) for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a policy must not decide. `place` is a rule's number from 1, the default, or the whole policy."""

    place: int | Literal["policy", "default"]
    text: str


def dimensions(policy: Policy) -> tuple[Dimension, ...]:
    """Give what this policy can tell apart, in the order of the table's columns."""
    asked = {condition.subject for each in policy.rules for condition in each.when}
    tiers = tuple(Dimension(tier, tuple(TierValue)) for tier in Tier)
    origin = (Dimension("origin", tuple(OriginClass)),) if {"origin"} & asked or _certifies(policy) else ()
    scores = tuple(Dimension(score, _bands(policy, score)) for score in Score if score in asked)
    mock = Dimension("mock", (False, True))
    return (Dimension("status", tuple(AnalysisStatus)), mock, *tiers, *origin, *scores)


def rows(policy: Policy, *, merge: bool = True) -> tuple[Row, ...]:
    """Every combination once, merged into as few rows as a greedy search finds; guards and rules in order."""
    axes = dimensions(policy)
    single = {
        tuple(frozenset({place}) for place in places): judge(policy, evidence)
        for places, evidence in _combinations(axes)
    }
    found = (Row(cells, ruling) for cells, ruling in (_fewest(single) if merge else single).items())
    return tuple(sorted(found, key=lambda row: (_order(row.ruling), [sorted(cell) for cell in row.cells])))


def faults(policy: Policy) -> tuple[Fault, ...]:
    """Say why this policy must not decide; empty if it may."""
    axes = dimensions(policy)
    if (size := math.prod(len(axis.values) for axis in axes)) > MAX_COMBINATIONS:
        return (Fault("policy", f"too many thresholds: {size} combinations, at most {MAX_COMBINATIONS}"),)
    ruled = [(evidence, judge(policy, evidence)) for _, evidence in _combinations(axes)]
    return (*_unreachable(policy, ruled), *_without_evidence(policy, ruled))


def _combinations(axes: Sequence[Dimension]) -> Iterator[tuple[tuple[int, ...], Evidence]]:
    for places in itertools.product(*(range(len(axis.values)) for axis in axes)):
        yield places, _evidence({axis.name: axis.values[place] for axis, place in zip(axes, places, strict=True)})


def _evidence(values: Mapping[str, Any]) -> Evidence:
    return Evidence(
        status=values["status"],
        mock=values["mock"],
        tiers={tier: values[tier] for tier in Tier},
        scores={score: values.get(score) for score in Score},
        origin=values.get("origin", OriginClass.UNDECIDED),
    )


def _bands(policy: Policy, score: Score) -> tuple[float | None, ...]:
    """Give the lower end of each band between thresholds, then None for absence."""
    asked = [condition for each in policy.rules for condition in each.when if isinstance(condition, ScoreIn)]
    bounds = [bound for each in asked if each.score is score for bound in (each.at_least, each.below)]
    return (*sorted({0.0, *(bound for bound in bounds if bound is not None)}), None)


def _certifies(policy: Policy) -> bool:
    return policy.kind == "certification"


def _fewest(single: Mapping[Cells, Ruling]) -> Mapping[Cells, Ruling]:
    places = range(len(next(iter(single))))
    return min((_merged(single, order) for order in (places, places[::-1])), key=len)


def _merged(single: Mapping[Cells, Ruling], order: Sequence[int]) -> dict[Cells, Ruling]:
    boxes, before = dict(single), math.inf
    while len(boxes) < before:
        before = len(boxes)
        for place in order:
            boxes = _merged_along(boxes, place)
    return boxes


def _merged_along(boxes: Mapping[Cells, Ruling], place: int) -> dict[Cells, Ruling]:
    """Join the boxes that differ in this one cell only: what they cover together is a box again."""
    joined: dict[tuple[Cells, Cells, Ruling], frozenset[int]] = {}
    for cells, ruling in boxes.items():
        key = (cells[:place], cells[place + 1 :], ruling)
        joined[key] = joined.get(key, frozenset()) | cells[place]
    return {(*left, cell, *right): ruling for (left, right, ruling), cell in joined.items()}


def _order(ruling: Ruling) -> tuple[int, int]:
    label, _, number = ruling.rule.partition(" ")
    return ("guard", "rule", "default").index(label), int(number or 0)


def _unreachable(policy: Policy, ruled: Sequence[tuple[Evidence, Ruling]]) -> Iterator[Fault]:
    reached = {ruling.rule for _, ruling in ruled}
    for number, each in enumerate(policy.rules, 1):
        if f"rule {number}" not in reached:
            yield Fault(number, f"never reached: {_why_unreachable(each, ruled)}")


def _why_unreachable(each: Rule, ruled: Sequence[tuple[Evidence, Ruling]]) -> str:
    takers = {ruling for evidence, ruling in ruled if each.matches(evidence)}
    if not takers:
        return "no analysis can meet its conditions"
    # The guards take their share of any rule's cases; they explain a rule only where nothing else does.
    rules = {taker for taker in takers if not taker.rule.startswith("guard")} or takers
    names = " and ".join(_taker(taker) for taker in sorted(rules, key=_order))
    return f"{names} before it already {'takes' if len(rules) == 1 else 'take'} all that it would match"


def _taker(ruling: Ruling) -> str:
    if not ruling.rule.startswith("guard"):
        return ruling.rule
    return f"the engine's own {ruling.rule} of {len(GUARDS)} ({ruling.reason})"


def _without_evidence(policy: Policy, ruled: Sequence[tuple[Evidence, Ruling]]) -> Iterator[Fault]:
    for decision, demand, met in _demands(policy):
        broken: dict[str, list[Evidence]] = {}
        for evidence, ruling in ruled:
            if ruling.decision == decision and not met(evidence):
                broken.setdefault(ruling.rule, []).append(evidence)
        for name, cases in broken.items():
            text = f"would give {decision} {demand}, in {len(cases)} combinations, for example {_said(cases[0])}"
            yield Fault("default" if name == "default" else int(name.split()[1]), text)


def _demands(policy: Policy) -> tuple[tuple[str, str, Callable[[Evidence], bool]], ...]:
    tier = Tier.PRESS_SAFE if _certifies(policy) else Tier.HUMAN_SAFE
    positive, negative = POSITIVE[policy.kind], NEGATIVE[policy.kind]
    explicit = (positive, f"without the word human at {tier}", lambda e: e.tiers[tier] is TierValue.HUMAN)
    refused = (negative, "though no tier says suspicious", lambda e: TierValue.SUSPICIOUS in e.tiers.values())
    agreed = (
        "certified",
        "although the origin names a generator",
        lambda e: e.origin is not OriginClass.GENERATOR,
    )
    return (explicit, refused, agreed)


def _said(evidence: Evidence) -> str:
    tiers = [f"{tier} {value}" for tier, value in evidence.tiers.items()]
    scores = [f"{score} {value:g}" for score, value in evidence.scores.items() if value is not None]
    origin = [] if evidence.origin is OriginClass.UNDECIDED else [f"origin {evidence.origin}"]
    return ", ".join([*tiers, *origin, *scores])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "null" if value is TierValue.NOT_EVALUATED else str(value)


def _score_label(values: Sequence[float | None], cell: frozenset[int]) -> str:
    last = len(values) - 1  # the place of absence
    said = ["absent"] if last in cell else []
    bands = sorted(cell - {last})
    if len(bands) == last:
        return "present"
    for _, run in itertools.groupby(enumerate(bands), key=lambda pair: pair[1] - pair[0]):
        places = [place for _, place in run]
        said.append(_range_label(values[places[0]] or 0.0, values[places[-1] + 1]))
    return " or ".join(said)


def _range_label(lower: float, upper: float | None) -> str:
    if upper is None:
        return f">= {lower:g}"
    return f"{lower:g} to < {upper:g}" if lower else f"< {upper:g}"
