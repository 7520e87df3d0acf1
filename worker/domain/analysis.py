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
