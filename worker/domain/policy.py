"""The policy engine: ordered rules over one analysis, pure and total.

What this module alone decides:

- Three guards come before the rules of every policy, in this order: no result in time, a failed analysis, a
  mock result outside the sandbox. Each means manual review, whatever the policy says.
- Then the policy's rules in their order. A rule matches when all of its conditions hold; the first decides.
- Then the policy's default, which every policy has: there is no analysis without a ruling.
- A policy's digest stands for what it decides: kind, conditions, order, outcomes. Its name, its file's
  formatting and comments, and the order in which a rule lists its conditions do not enter it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from worker.domain.analysis import AnalysisStatus
from worker.domain.conditions import IsMock, StatusIn, evidence_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from worker.domain.analysis import Analysis
    from worker.domain.conditions import Condition, Evidence

Kind = Literal["intake", "certification"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is decided and why. Approvals and certifications give no reason."""

    decision: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """An outcome for all evidence that meets every condition."""

    when: tuple[Condition, ...]
    outcome: Outcome

    def matches(self, evidence: Evidence) -> bool:
        """Whether all conditions hold."""
        return all(condition.holds(evidence) for condition in self.when)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in their order. `kind` says which fields of the contract its decisions carry."""

    name: str
    kind: Kind
    rules: tuple[Rule, ...]
    default: Outcome
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest(self.kind, self.rules, self.default))

    @property
    def outcomes(self) -> frozenset[Outcome]:
        """Everything that it may decide, and why."""
        return frozenset(each.outcome for each in (*GUARDS, *self.rules)) | {self.default}


@dataclass(frozen=True, slots=True)
class Ruling:
    """The outcome for one analysis. `rule` names what decided: `guard 1`, `rule 2`, `default`."""

    decision: str
    reason: str | None
    rule: str = "default"


# The decisions of each kind: admitted, refused, left to people.
POSITIVE: Mapping[Kind, str] = {"intake": "approve", "certification": "certified"}
NEGATIVE: Mapping[Kind, str] = {"intake": "reject", "certification": "rejected"}
UNDECIDED: Mapping[Kind, str] = {"intake": "manual_review", "certification": "review"}

GUARDS = (
    Rule(
        (StatusIn(frozenset({AnalysisStatus.TIMEOUT})),),
        Outcome("manual_review", "analysis_timeout"),
    ),
    Rule(
        (StatusIn(frozenset({AnalysisStatus.FAILED})),),
        Outcome("manual_review", "analysis_failed"),
    ),
    Rule((IsMock(),), Outcome("manual_review", "mock_result")),
)


def rule(policy: Policy, analysis: Analysis, *, sandbox: bool = False) -> Ruling:
    """Decide one analysis. Mock results go through the rules in the sandbox only."""
    return judge(policy, evidence_of(analysis, sandbox=sandbox))


def judge(policy: Policy, evidence: Evidence) -> Ruling:
    """Decide on bare evidence: guards, then rules, then the default."""
    return (
        _first_match("guard", GUARDS, evidence)
        or _first_match("rule", policy.rules, evidence)
        or Ruling(policy.default.decision, policy.default.reason, "default")
    )


def _first_match(label: str, rules: Iterable[Rule], evidence: Evidence) -> Ruling | None:
    for number, each in enumerate(rules, 1):
        if each.matches(evidence):
            return Ruling(each.outcome.decision, each.outcome.reason, f"{label} {number}")
    return None


def _digest(kind: Kind, rules: Iterable[Rule], default: Outcome) -> str:
    canonical = {
        "form": 1,
        "kind": kind,
        "rules": [[_conditions(each), *_outcome(each.outcome)] for each in rules],
        "default": _outcome(default),
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _outcome(outcome: Outcome) -> list[str | None]:
    return [outcome.decision, outcome.reason]


def _conditions(of: Rule) -> list[list[str]]:
    return sorted([condition.subject, *condition.words] for condition in of.when)
