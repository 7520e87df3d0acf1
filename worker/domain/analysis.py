"""What an analysis is: one shape for both generations of the API.

Absent, null and unknown words stay distinguishable from "human": nothing here reads "clean" into an absence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class TierValue(StrEnum):
    """What a tier says, after both generations' words became one."""

    HUMAN = "human"
    SUSPICIOUS = "suspicious"
    NOT_EVALUATED = "not_evaluated"  # null or absent
    UNKNOWN = "unknown"  # a word nobody documented


class AnalysisStatus(StrEnum):
    """How an analysis ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"  # no result before the record's deadline


class Tier(StrEnum):
    """The three tiers, each calibrated to its own false positive rate; no tier follows from another."""

    PRESS_SAFE = "press_safe"
    HUMAN_SAFE = "human_safe"
    RECALL = "recall"


class OriginClass(StrEnum):
    """What an origin says about who made the track."""

    HUMAN = "human"
    GENERATOR = "generator"  # any word that is neither human nor one of UNDECIDED_ORIGINS
    UNDECIDED = "undecided"  # null, absent, or a word that names nobody


UNDECIDED_ORIGINS = frozenset({"", "uncertain", "unknown"})


@dataclass(frozen=True, slots=True)
class Analysis:
    """One finished analysis, or the reason why there is none.

    Scores are 0-1, higher is more AI. `tier_words` keeps the API's own words for the auditor.
    """

    status: AnalysisStatus
    press_safe: TierValue = TierValue.NOT_EVALUATED
    human_safe: TierValue = TierValue.NOT_EVALUATED
    recall: TierValue = TierValue.NOT_EVALUATED
    tier_words: Mapping[str, str | None] | None = None
    verdict: str | None = None
    truth_score: float | None = None
    geo_score: float | None = None
    proto_score: float | None = None
    head_a: float | None = None
    head_b: float | None = None
    head_c: float | None = None
    confidence: float | None = None
    origin: str | None = None
    origin_confidence: float | None = None
    origin_map: Mapping[str, Any] | None = None
    risk_series: tuple[float, ...] | None = field(default=None, repr=False)
    risk_segments: tuple[Mapping[str, float], ...] | None = field(default=None, repr=False)
    model_version: str | None = None
    calibration_version: str | None = None
    processed_at: str | None = None
    job_id: str | None = None
    error: str | None = None
    mock: bool = False

    @property
    def tiers(self) -> dict[str, TierValue]:
        """Every tier with its value. Plain strings as keys: orjson takes no others."""
        return {
            Tier.PRESS_SAFE.value: self.press_safe,
            Tier.HUMAN_SAFE.value: self.human_safe,
            Tier.RECALL.value: self.recall,
        }

    @property
    def origin_class(self) -> OriginClass:
        """Who the origin names.

        The set of words is open, so a word that nobody documented counts as a generator's name.
        """
        word = (self.origin or "").strip().casefold()
        if word in UNDECIDED_ORIGINS:
            return OriginClass.UNDECIDED
        return OriginClass.HUMAN if word == OriginClass.HUMAN else OriginClass.GENERATOR
