"""What a certificate of human origin says: the seed's report fields, which make a chain that can be audited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.domain.analysis import OriginClass

if TYPE_CHECKING:
    from worker.domain.analysis import Analysis

PRESS_SAFE = "press-safe"


def certificate(analysis: Analysis) -> dict[str, str | float | None]:
    """Certify at the press-safe tier. The origin is human or not stated: a policy never certifies a generator."""
    return {
        "confidence_tier": PRESS_SAFE,
        "proto_score_v1": analysis.proto_score,
        "calibration_version": analysis.calibration_version,
        "processed_at": analysis.processed_at,
        "origin": "human" if analysis.origin_class is OriginClass.HUMAN else None,
    }
