"""The conditions that rules are made of, and all that they may look at.

- Conditions see `Evidence` and nothing else of an analysis.
- A score outside 0-1, or NaN, is absent evidence. With that, evidence has finitely many kinds as far as a
  given policy can tell them apart, and policy_table.py enumerates them all.
- Every condition can say itself in the words of policy files, in one canonical order; digests are made of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.domain.analysis import Analysis, AnalysisStatus, OriginClass, Tier, TierValue


class Score(StrEnum):
    """The scores a rule may look at, 0-1, higher is more AI."""

    TRUTH = "truth_score"
    GEO = "geo_score"
    PROTO = "proto_score"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of an analysis that can change its ruling. `mock`: a mock result outside the sandbox."""

    status: AnalysisStatus
    mock: bool
    tiers: Mapping[str, TierValue]
    scores: Mapping[str, float | None]
    origin: OriginClass


class Condition(Protocol):
    """One test of the evidence. `subject` and `words` say it as policy files do, in canonical order."""

    @property
    def subject(self) -> str:
        """What is looked at: a tier, a score, origin or status."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """What is asked of it."""
        ...

    def holds(self, evidence: Evidence) -> bool:
        """Whether the evidence meets it."""
        ...


@dataclass(frozen=True, slots=True)
class TierIn:
    """The tier says one of these values."""

    tier: Tier
    values: frozenset[TierValue]

    @property
    def subject(self) -> str:
        """The tier's name."""
        return self.tier

    @property
    def words(self) -> tuple[str, ...]:
        """The values, sorted."""
        return tuple(sorted(self.values))

    def holds(self, evidence: Evidence) -> bool:
        """Whether the tier's value is among them."""
        return evidence.tiers[self.tier] in self.values


@dataclass(frozen=True, slots=True)
class ScoreIn:
    """The score is present, not under `at_least`, and under `below` where that is given."""

    score: Score
    at_least: float = 0.0
    below: float | None = None

    @property
    def subject(self) -> str:
        """The score's name."""
        return self.score

    @property
    def words(self) -> tuple[str, ...]:
        """The bounds; `present` where there are none."""
        lower = (f">= {self.at_least!r}",) if self.at_least > 0 else ()
        upper = (f"< {self.below!r}",) if self.below is not None else ()
        return lower + upper or ("present",)

    def holds(self, evidence: Evidence) -> bool:
        """Whether the score is there and within the bounds."""
        value = evidence.scores[self.score]
        return value is not None and value >= self.at_least and (self.below is None or value < self.below)


@dataclass(frozen=True, slots=True)
class ScoreAbsent:
    """The reply carried no such score."""

    score: Score
    words = ("absent",)

    @property
    def subject(self) -> str:
        """The score's name."""
        return self.score

    def holds(self, evidence: Evidence) -> bool:
        """Whether the score is missing."""
        return evidence.scores[self.score] is None


@dataclass(frozen=True, slots=True)
class OriginIn:
    """The origin is of one of these classes."""

    values: frozenset[OriginClass]
    subject = "origin"

    @property
    def words(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted(self.values))

    def holds(self, evidence: Evidence) -> bool:
        """Whether the origin's class is among them."""
        return evidence.origin in self.values


@dataclass(frozen=True, slots=True)
class StatusIn:
    """The analysis ended in one of these ways."""

    values: frozenset[AnalysisStatus]
    subject = "status"

    @property
    def words(self) -> tuple[str, ...]:
        """The statuses, sorted."""
        return tuple(sorted(self.values))

    def holds(self, evidence: Evidence) -> bool:
        """Whether the status is among them."""
        return evidence.status in self.values


@dataclass(frozen=True, slots=True)
class IsMock:
    """The result is a mock outside the sandbox. Only the guards ask this: no policy may decide on a mock."""

    subject = "mock"
    words = ("yes",)

    def holds(self, evidence: Evidence) -> bool:
        """Whether it is one."""
        return evidence.mock


def evidence_of(analysis: Analysis, *, sandbox: bool) -> Evidence:
    """Reduce an analysis to what rules may see."""
    return Evidence(
        status=analysis.status,
        mock=analysis.mock and not sandbox,
        tiers=analysis.tiers,
        scores={
            Score.TRUTH: _within_scale(analysis.truth_score),
            Score.GEO: _within_scale(analysis.geo_score),
            Score.PROTO: _within_scale(analysis.proto_score),
        },
        origin=analysis.origin_class,
    )


def _within_scale(score: float | None) -> float | None:
    return score if score is not None and 0 <= score <= 1 else None
