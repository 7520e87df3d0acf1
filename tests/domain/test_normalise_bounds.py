"""What a giant reply becomes: a bounded Analysis, small enough for a decision."""

from __future__ import annotations

from typing import Any

import orjson

from worker.domain.analysis import Analysis
from worker.domain.normalise import MAX_WINDOWS, analysis_of


def test_a_giant_reply_becomes_a_bounded_analysis() -> None:
    text, many = "x" * 1_000_000, 100_000
    body: dict[str, Any] = {
        "verdict": text,
        "status": "failed",
        "error": "a://" * many,
        "risk_series": [0.123456789] * many,
        "risk_segments": [{"start": 0.123456789, "end": 0.123456789, "risk": 0.123456789}] * many,
        "origin_map": {"summary_line": text, "neighborhood": {"counts": {f"{n}{text[:999]}": n for n in range(500)}}},
        "tier_verdicts": {"recall": text},
    }
    analysis = analysis_of(body)
    assert isinstance(analysis, Analysis)
    assert analysis.risk_series is not None
    assert len(analysis.risk_series) == MAX_WINDOWS
    assert len(orjson.dumps(analysis)) < 300_000
