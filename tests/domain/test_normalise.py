"""Both generations become one Analysis, tolerantly, and nothing secret or unbounded gets through."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.normalise import NO_SUCCESS, UnknownShape, analysis_of

D1: dict[str, Any] = {
    "id": "trk_1",
    "status": "success",
    "verdict": "suspicious",
    "tier_verdicts": {"press_safe": None, "human_safe": "human", "recall": "suspicious"},
    "scores": {
        "truth_score": 0.61,
        "geo_score": 1,
        "proto_score_v1": 0.4,
        "head_a": 0.1,
        "head_b": 0.2,
        "head_c": 0.3,
    },
    "origin": "suno",
    "origin_confidence": 0.9,
    "risk_series": [0, 0.5, 1],
    "model_version": "hsv-1.3.1",
    "calibration_version": "clairity-bench-2026-01-12",
    "processed_at": "2026-02-01T10:00:00Z",
    "origin_map": {
        "nearest_population": "suno",
        "summary_line": "close to suno",
        "neighborhood": {"k": 25, "counts": {"suno": 20, "human": 5.0, "odd": "x"}, "dominant": "suno", "x": 1},
        "other": "gone",
    },
    "origin_map_evidence": "https://evidence.example/map?token=s3cret",
}
D2: dict[str, Any] = {
    "verdict": "human",
    "ai_probability": 0.7061,
    "confidence": 0.2939,
    "tier_verdicts": {"press_safe": "human", "human_safe": "ai", "recall": "ai"},
    "risk_segments_full_mix": [{"start": 0, "end": 2.5, "risk": 0.7, "x": 1}, {"start": 2.5}, "odd"],
    "origin": "udio",
}


def _read(body: object, job_id: str | None = None) -> Analysis:
    analysis = analysis_of(body, job_id=job_id)
    assert isinstance(analysis, Analysis)
    return analysis


def test_a_generation_1_reply() -> None:
    assert _read(D1) == Analysis(
        AnalysisStatus.SUCCESS,
        press_safe=TierValue.NOT_EVALUATED,
        human_safe=TierValue.HUMAN,
        recall=TierValue.SUSPICIOUS,
        tier_words={"press_safe": None, "human_safe": "human", "recall": "suspicious"},
        verdict="suspicious",
        truth_score=0.61,
        geo_score=1.0,
        proto_score=0.4,
        head_a=0.1,
        head_b=0.2,
        head_c=0.3,
        origin="suno",
        origin_confidence=0.9,
        origin_map={
            "nearest_population": "suno",
            "summary_line": "close to suno",
            "neighborhood": {"k": 25, "counts": {"suno": 20, "human": 5}, "dominant": "suno"},
        },
        risk_series=(0.0, 0.5, 1.0),
        model_version="hsv-1.3.1",
        calibration_version="clairity-bench-2026-01-12",
        processed_at="2026-02-01T10:00:00Z",
    )


@pytest.mark.parametrize(
    "body",
    [
        D2 | {"job_id": "j1"},
        {"status": "complete", "job_id": "j1", "result": D2},
        {"status": "complete", "job_id": "j1", "verdict": None, "result": D2},
    ],
    ids=["bare", "wrapped", "wrapped beside a null verdict"],
)
def test_a_generation_2_result_bare_or_in_its_status_reply(body: dict[str, Any]) -> None:
    assert _read(body) == Analysis(
        AnalysisStatus.SUCCESS,
        press_safe=TierValue.HUMAN,
        human_safe=TierValue.SUSPICIOUS,
        recall=TierValue.SUSPICIOUS,
        tier_words={"press_safe": "human", "human_safe": "ai", "recall": "ai"},
        verdict="human",
        truth_score=0.7061,
        confidence=0.2939,
        origin="udio",
        risk_segments=({"start": 0.0, "end": 2.5, "risk": 0.7},),
        job_id="j1",
    )
    assert _read(body, job_id="asked").job_id == "asked"


def test_the_summary_shape_has_a_timeline_and_no_tiers() -> None:
    analysis = _read({"verdict": "ai", "ai_probability": 1, "risk_timeline": [0.5] * 47})
    assert analysis.risk_series == (0.5,) * 47
    assert set(analysis.tiers.values()) == {TierValue.NOT_EVALUATED}


TIER_WORDS: list[tuple[Any, TierValue]] = [
    ("human", TierValue.HUMAN),
    ("suspicious", TierValue.SUSPICIOUS),
    ("ai", TierValue.SUSPICIOUS),
    (None, TierValue.NOT_EVALUATED),
    *((word, TierValue.UNKNOWN) for word in ("Human", "human ", "uncertain", "no_vocal", "", "AI", "not_evaluated")),
    *((odd, TierValue.UNKNOWN) for odd in (True, False, 0, 1.0, [], ["human"], {"value": "human"})),
]


@pytest.mark.parametrize("tier", ["press_safe", "human_safe", "recall"])
@pytest.mark.parametrize(("word", "value"), TIER_WORDS, ids=repr)
def test_a_tier_word_is_taken_literally(tier: str, word: Any, value: TierValue) -> None:
    analysis = _read({"verdict": "human", "tier_verdicts": {tier: word}})
    others = dict.fromkeys(("press_safe", "human_safe", "recall"), TierValue.NOT_EVALUATED)
    assert analysis.tiers == others | {tier: value}
    assert analysis.tier_words == {tier: (word.strip() or None) if isinstance(word, str) else None}


@pytest.mark.parametrize("tiers", ["human", ["human"], 1, True])
def test_tiers_that_are_no_object_are_unknown(tiers: Any) -> None:
    assert set(_read({"verdict": "human", "tier_verdicts": tiers}).tiers.values()) == {TierValue.UNKNOWN}


ENDINGS: list[tuple[dict[str, Any], AnalysisStatus, str | None]] = [
    ({"status": "success", "verdict": None}, AnalysisStatus.SUCCESS, None),
    ({"verdict": None}, AnalysisStatus.SUCCESS, None),
    ({"status": "failed", "verdict": None}, AnalysisStatus.FAILED, None),
    ({"status": "failed", "error": "audio_load_failed"}, AnalysisStatus.FAILED, "audio_load_failed"),
    ({"status": "failed", "job_id": "j", "result": None}, AnalysisStatus.FAILED, None),
    ({"status": "failed", "result": D2}, AnalysisStatus.FAILED, None),
    ({"status": "complete", "result": {"status": "failed", "error": "e"}}, AnalysisStatus.FAILED, "e"),
    ({"verdict": None, "error": "audio_load_failed"}, AnalysisStatus.FAILED, "audio_load_failed"),
    ({"status": "success", "verdict": None, "error": {"code": "x"}}, AnalysisStatus.FAILED, None),
    ({"status": "partial", "verdict": "human"}, AnalysisStatus.FAILED, NO_SUCCESS),
    ({"status": "processing", "result": D2}, AnalysisStatus.FAILED, NO_SUCCESS),
    ({"status": ["success"], "verdict": "human"}, AnalysisStatus.FAILED, NO_SUCCESS),
    ({"status": False, "verdict": "human"}, AnalysisStatus.FAILED, NO_SUCCESS),
    ({"status": "Failed", "verdict": "human", "error": "e"}, AnalysisStatus.FAILED, "e"),
]


@pytest.mark.parametrize(("body", "status", "error"), ENDINGS, ids=repr)
def test_success_needs_a_status_that_says_so_or_none(
    body: dict[str, Any], status: AnalysisStatus, error: str | None
) -> None:
    analysis = _read(body)
    assert (analysis.status, analysis.error) == (status, error)


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ({"job_id": "j", "status": "queued"}, ("job_id", "status")),
        ({"job_id": "j", "status": "queued", "verdict": None}, ("job_id", "status", "verdict")),
        ({"status": "complete", "result": None}, ("status", "result")),
        ({"status": "complete", "result": {}}, ("status", "result")),
        ({"error": "x", "message": "y"}, ("error", "message")),
        ({"https://a.example/?token=s": 1, "x" * 41: 2}, ("?", "?")),
        ({f"k{n}": n for n in range(50)}, tuple(f"k{n}" for n in range(20))),
        ({}, ()),
        ([D1], ()),
        ("human", ()),
        (None, ()),
    ],
    ids=repr,
)
def test_any_other_shape_is_named_by_its_keys_alone(body: object, keys: tuple[str, ...]) -> None:
    assert analysis_of(body) == UnknownShape(keys)


@pytest.mark.parametrize(
    ("fields", "mock"),
    [
        ({}, False),
        ({"mock": False}, False),
        ({"mock": None}, False),
        ({"mock": True}, True),
        ({"mock": "false"}, True),
        ({"mock": 0}, True),
        ({"mock_scenario": "human"}, True),
    ],
)
def test_what_is_not_plainly_real_is_a_mock(fields: dict[str, Any], mock: bool) -> None:
    assert _read({"verdict": "human"} | fields).mock is mock
    assert _read({"status": "complete", "result": {"verdict": "human"} | fields}).mock is mock
    assert _read({"status": "complete", "result": {"verdict": "human"}} | fields).mock is mock


@pytest.mark.parametrize("odd", [True, False, "0.5", -0.001, 1.001, 73, 10**400, math.nan, math.inf, [], {}, None])
def test_a_score_that_is_no_number_from_0_to_1_is_absent(odd: Any) -> None:
    names = ("truth_score", "geo_score", "proto_score_v1", "head_a", "head_b", "head_c")
    analysis = _read({"verdict": "human", "scores": dict.fromkeys(names, odd), "confidence": odd})
    found = (analysis.truth_score, analysis.geo_score, analysis.proto_score)
    assert {*found, analysis.head_a, analysis.head_b, analysis.head_c, analysis.confidence} == {None}


def test_an_unreadable_first_name_leaves_the_second() -> None:
    body = {"verdict": "ai", "scores": {"truth_score": True}, "ai_probability": 0.25, "risk_series": "x"}
    analysis = _read(body | {"risk_timeline": [1], "risk_segments": [{"start": 0, "end": 1, "risk": 2}]})
    assert (analysis.truth_score, analysis.risk_series) == (0.25, (1.0,))
    assert analysis.risk_segments == ({"start": 0.0, "end": 1.0, "risk": 2.0},)


@pytest.mark.parametrize("odd", [None, True, "0.1", math.nan, math.inf, 10**400])
def test_a_series_with_one_bad_value_is_absent_as_a_whole(odd: Any) -> None:
    assert _read({"verdict": "ai", "risk_series": [0.1, odd, 0.2]}).risk_series is None


LEAKS = [
    "https://cdn.example/a.mp3?X-Amz-Signature=s3cret",
    "could not load HTTPS://u:s3cret@cdn.example/s3cret.wav now",
    r"see https:\/\/cdn.example\/a?sig=s3cret",
    "at https%3A%2F%2Fcdn.example%2Fa%3Fsig%3Ds3cret",
    "bucket/a.mp3?sig=s3cret&b=s3cret",
    "a.mp3%3Fsig=s3cret",
    "Authorization: Bearer s3cret",
]


@pytest.mark.parametrize("text", LEAKS)
@pytest.mark.parametrize("field", ["error", "verdict", "origin", "model_version", "processed_at", "job_id"])
def test_no_address_query_or_key_gets_through_a_text(field: str, text: str) -> None:
    bodies: list[dict[str, Any]] = [{"verdict": None, "status": "failed"} | {field: text}]
    bodies.append({"verdict": "ai", "origin_map": {"summary_line": text, "neighborhood": {"counts": {text: 1}}}})
    bodies.append({"verdict": "ai", "tier_verdicts": {"recall": text}, "origin_map_evidence": text})
    for body in bodies:
        assert b"s3cret" not in orjson.dumps(_read(body))


def test_an_ordinary_error_stays_as_it_is() -> None:
    error = "audio_load_failed: is it mono? 50 % of 3:20 could be read"
    assert _read({"status": "failed", "error": error}).error == error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WORD = st.sampled_from(["human", "suspicious", "ai", "success", "failed", "complete", "queued", *LEAKS]) | JSON
TIERS = st.fixed_dictionaries({}, optional=dict.fromkeys(("press_safe", "human_safe", "recall"), WORD)) | JSON
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("verdict", "status", "error", "origin", "model_version", "processed_at", "job_id"), WORD),
    **dict.fromkeys(("ai_probability", "confidence", "risk_series", "risk_timeline", "mock"), JSON),
    **dict.fromkeys(("risk_segments", "risk_segments_full_mix"), st.lists(JSON, max_size=3) | JSON),
    "tier_verdicts": TIERS,
    "scores": st.fixed_dictionaries({}, optional={"truth_score": JSON, "geo_score": JSON}) | JSON,
    "origin_map": st.fixed_dictionaries({}, optional={"summary_line": WORD, "neighborhood": JSON}) | JSON,
}
BODY = st.fixed_dictionaries({}, optional=FIELDS)


@given(body=JSON | BODY | st.fixed_dictionaries({"result": BODY | JSON}, optional=FIELDS))
def test_no_json_value_raises_and_what_comes_out_is_within_bounds(body: Any) -> None:
    analysis = analysis_of(body)
    if isinstance(analysis, UnknownShape):
        assert len(analysis.keys) <= 20
        return
    text = orjson.dumps(analysis)
    assert b"s3cret" not in text
    scores = (analysis.truth_score, analysis.geo_score, analysis.proto_score, analysis.confidence)
    assert all(score is None or (isinstance(score, float) and 0 <= score <= 1) for score in scores)
    assert all(math.isfinite(risk) for risk in analysis.risk_series or ())
    result = body.get("result") if isinstance(body.get("result"), dict) else None
    sources = [each.get("tier_verdicts") for each in (body, result) if each is not None]
    for tier, value in analysis.tiers.items():
        if value is TierValue.HUMAN:
            assert any(isinstance(each, dict) and each.get(tier) == "human" for each in sources)
