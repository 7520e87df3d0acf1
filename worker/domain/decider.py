"""The way from a record to its message: read it, then decide it or bury it. Every record gets exactly one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.domain import deadletter, decision
from worker.domain.policy import rule
from worker.domain.submission import decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from worker.domain.analysis import Analysis
    from worker.domain.policy import Policy
    from worker.domain.record import Message, Record
    from worker.domain.submission import TrackSubmitted, Unreadable
    from worker.domain.trace import TraceContext


@dataclass(frozen=True, slots=True)
class Topics:
    """The five topics by name."""

    submitted: str
    approve: str
    review: str
    reject: str
    dead_letter: str

    def of(self, outcome: str) -> str:
        """Name the topic of a decision's word."""
        if outcome in {"approve", "certified"}:
            return self.approve
        return self.reject if outcome in {"reject", "rejected"} else self.review


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, ready to be published, and what logs and metrics say of it."""

    message: Message
    decision_id: str
    decision: str
    reason: str | None
    policy: str
    policy_digest: str
    output_topic: str


@dataclass(frozen=True, slots=True)
class Decider:
    """Loaded policies and topics, joined. `default` names the policy of events that name none.

    Mock results are decided by the policy's rules only where `sandbox` is true.
    """

    policies: Mapping[str, Policy]
    default: str
    topics: Topics
    sandbox: bool = False

    def __post_init__(self) -> None:
        if self.default not in self.policies:
            raise ValueError(f"the default policy {self.default!r} is not among those loaded")

    def outcomes(self) -> list[tuple[str, str, str | None, str]]:
        """Everything that may be decided: topic, decision, reason, policy."""
        return [
            (self.topics.of(outcome.decision), outcome.decision, outcome.reason, policy.name)
            for policy in self.policies.values()
            for outcome in policy.outcomes
        ]

    def read(self, record: Record) -> TrackSubmitted | Unreadable:
        """Read one record as an event; its policy, where it names one, is loaded."""
        return decode(record, self.policies)

    def decide(
        self,
        record: Record,
        track: TrackSubmitted,
        analysis: Analysis,
        *,
        attempts: int,
        at: datetime,
        span: TraceContext | None = None,
    ) -> Decided:
        """Decide a track that `read` gave. `attempts` counts calls that were made for it; `at` is aware.

        A `span` of our own is what the decision's trace headers name.
        """
        policy = self.policies[track.policy or self.default]
        ruling = rule(policy, analysis, sandbox=self.sandbox)
        output_topic = self.topics.of(ruling.decision)
        decided = decision.Decision(
            decision.decision_id(record),
            record,
            track,
            analysis,
            policy,
            ruling,
            attempts,
            decision.rfc3339(at),
            span,
        )
        return Decided(
            decision.message(decided, output_topic),
            decided.decision_id,
            ruling.decision,
            ruling.reason,
            policy.name,
            policy.digest,
            output_topic,
        )

    def dead_letter(self, record: Record, problem: Unreadable, *, at: datetime) -> Message:
        """Bury a record that `read` could not read."""
        return deadletter.dead_letter(record, problem, topic=self.topics.dead_letter, at=at)
