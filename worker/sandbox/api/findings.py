"""The replies' bodies: what both generations say of one scenario, encoded.

Shapes follow what is documented of generation 1 and what was recorded of generation 2; the label keys appear on
AI verdicts only, and times come with `Z` as well as with an offset and microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from worker.sandbox.api.scenarios import unit

if TYPE_CHECKING:
    from worker.sandbox.api.scenarios import Scenario

WINDOWS = 47
_WINDOW_SECONDS = 2.5
_HOP_SECONDS = 1.25
_VARIANTS = 8
_SUSPECT = 0.5
_TIERS = ("press_safe", "human_safe", "recall")


def _risk(probability: float, variant: int) -> list[float]:
    return [
        round(min(1.0, max(0.0, probability + (unit(variant, str(window), "risk") - 0.5) * 0.2)), 4)
        for window in range(WINDOWS)
    ]


def _segments(risk: list[float]) -> list[dict[str, float]]:
    return [
        {"start": i * _HOP_SECONDS, "end": i * _HOP_SECONDS + _WINDOW_SECONDS, "risk": value}
        for i, value in enumerate(risk)
    ]


class Findings:
    """Encodes results; the long risk lists are encoded once for each scenario and variant."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._encoded: dict[tuple[float, int, bool], orjson.Fragment] = {}

    def generation_1(self, scenario: Scenario, *, scan_id: str, now: float) -> bytes:
        """Encode the result as the synchronous call returns it."""
        head: dict[str, Any] = {"id": scan_id, "processed_at": self._time(scan_id, now)}
        if scenario.failed:
            return orjson.dumps(head | {"status": "failed", "verdict": None} | _error(scenario))
        verdict = "suspicious" if scenario.suspicious else "human"
        body = head | {
            "status": "success",
            "verdict": verdict,
            "tier_verdicts": dict(zip(_TIERS, scenario.tiers, strict=True)),
            "scores": _scores(scenario),
            "risk_series": self._fragment(scenario, scan_id, segments=False),
            "origin_map_evidence": f"https://evidence.example/{scan_id}?token=sandbox-evidence-token",
        }
        return orjson.dumps(body | _background(scenario))

    def generation_2(self, scenario: Scenario, *, job_id: str, full: bool, now: float) -> bytes:
        """Encode the status reply of a job that has ended; `full` where both calls asked for detail=full."""
        if scenario.failed:
            return orjson.dumps({"job_id": job_id, "status": "failed"} | _error(scenario))
        result = self._result_2(scenario, job_id, now)
        if full:
            words = {"suspicious": "ai"}
            tiers = [words.get(tier, tier) if tier else None for tier in scenario.tiers]
            result["tier_verdicts"] = dict(zip(_TIERS, tiers, strict=True))
            result["risk_segments_full_mix"] = self._fragment(scenario, job_id, segments=True)
        else:
            result["risk_timeline"] = self._fragment(scenario, job_id, segments=False)
        return orjson.dumps({"job_id": job_id, "status": "complete", "result": result})

    def _result_2(self, scenario: Scenario, job_id: str, now: float) -> dict[str, Any]:
        verdict = "ai" if scenario.suspicious else "human"
        confidence = scenario.ai_probability if scenario.suspicious else round(1 - scenario.ai_probability, 4)
        return {
            "verdict": verdict,
            "ai_probability": scenario.ai_probability,
            "confidence": confidence,
            "confidence_full_mix": confidence,
            "processed_at": self._time(job_id, now),
        } | _background(scenario)

    def _fragment(self, scenario: Scenario, scan_id: str, *, segments: bool) -> orjson.Fragment:
        variant = int(unit(self._seed, scan_id, "variant") * _VARIANTS)
        key = (scenario.ai_probability, variant, segments)
        if key not in self._encoded:
            risk = _risk(scenario.ai_probability, variant)
            self._encoded[key] = orjson.Fragment(orjson.dumps(_segments(risk) if segments else risk))
        return self._encoded[key]

    def _time(self, scan_id: str, now: float) -> str:
        text = datetime.fromtimestamp(now, UTC).isoformat()
        return text.replace("+00:00", "Z") if unit(self._seed, scan_id, "time") < _SUSPECT else text


def _error(scenario: Scenario) -> dict[str, Any]:
    return {"error": scenario.error} if scenario.error else {}


def _scores(scenario: Scenario) -> dict[str, float]:
    score = scenario.ai_probability
    return {
        "truth_score": score,
        "geo_score": round(score * 0.9, 4),
        "proto_score_v1": round(score * 0.95, 4),
        "head_a": score,
        "head_b": round(score * 0.8, 4),
        "head_c": round(score * 0.85, 4),
    }


def _background(scenario: Scenario) -> dict[str, Any]:
    generator = "human" if scenario.ai_probability < _SUSPECT else "suno"
    neighborhood = {"k": 10, "counts": {generator: 10}, "dominant": generator}
    return (
        {
            "origin": scenario.origin,
            "origin_confidence": 0.83 if scenario.origin else None,
            "origin_map": {
                "nearest_population": generator,
                "summary_line": f"10 of the 10 nearest recordings are {generator}",
                "neighborhood": neighborhood,
            },
            "model_version": "sandbox-1.0.0",
            "calibration_version": "sandbox-2026-01-01",
            "duration_sec": 201.5,
            "audio": {"duration_sec": 201.5, "bitrate": 320000, "sample_rate": 44100, "channels": 2, "codec": "mp3"},
        }
        | (_label() if scenario.suspicious else {})
        | ({"mock": True, "mock_scenario": scenario.name} if scenario.mock else {})
    )


def _label() -> dict[str, str]:
    return {
        "industry_label": "fully_ai_generated",
        "industry_label_status": "provisional",
        "industry_label_basis": "full_mix",
    }


def wrong_types(body: bytes) -> bytes:
    """Turn every field of an encoded object into a value of another type, at every depth."""
    return orjson.dumps(_mistyped(orjson.loads(body)))


def _mistyped(value: Any) -> Any:
    match value:
        case dict():
            return {key: _mistyped(inner) if key == "result" else _other(inner) for key, inner in value.items()}
        case _:
            return _other(value)


def _other(value: Any) -> Any:
    match value:
        case str():
            return [value]
        case dict() | list():
            return 17
        case _:
            return {"unexpected": value}
