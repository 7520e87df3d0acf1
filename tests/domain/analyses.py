"""Analyses and records as the worker may meet them, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.record import Record
from worker.domain.submission import TrackSubmitted

SECRET = "s3cr3t-t0ken"  # noqa: S105 - stands for one, to be searched for in what is published
ADDRESS = f"https://evidence.example.com/x?token={SECRET}"

SCORES = st.none() | st.floats(0, 1)
WORDS = st.none() | st.text(max_size=12)
ORIGINS = st.none() | st.sampled_from(["human", "Human", "suno", "udio", "uncertain", "unknown", ""])
LEAKY = st.none() | st.sampled_from([ADDRESS, f"cannot load '{ADDRESS}'", "x" * 2_000 + ADDRESS]) | st.text(max_size=12)
SERIES = st.none() | st.lists(st.floats(0, 1), max_size=6).map(tuple)
SEGMENTS = st.none() | st.lists(
    st.fixed_dictionaries({"start": st.floats(0, 60), "end": st.floats(0, 60), "risk": st.floats(0, 1)}), max_size=3
).map(tuple)
ORIGIN_MAPS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "nearest_population": WORDS,
        "summary_line": LEAKY,
        "origin_map_evidence": st.just(ADDRESS),
        "neighborhood": st.fixed_dictionaries(
            {},
            optional={
                "k": st.integers(0, 99),
                "counts": st.dictionaries(st.text(max_size=5), st.integers(0, 99), max_size=3),
                "dominant": WORDS,
                "evidence": st.just(ADDRESS),
            },
        ),
    },
)
TIERS = st.sampled_from(TierValue)


def analyses() -> st.SearchStrategy[Analysis]:
    """Every combination of tiers and status, with signals present or absent."""
    return st.builds(
        Analysis,
        status=st.sampled_from(AnalysisStatus),
        press_safe=TIERS,
        human_safe=TIERS,
        recall=TIERS,
        tier_words=st.none() | st.dictionaries(st.sampled_from(["press_safe", "recall"]), WORDS),
        verdict=WORDS,
        truth_score=SCORES,
        geo_score=SCORES,
        proto_score=SCORES,
        head_a=SCORES,
        head_b=SCORES,
        head_c=SCORES,
        confidence=SCORES,
        origin=ORIGINS,
        origin_confidence=SCORES,
        origin_map=ORIGIN_MAPS,
        risk_series=SERIES,
        risk_segments=SEGMENTS,
        model_version=WORDS,
        calibration_version=WORDS,
        processed_at=WORDS,
        job_id=WORDS,
        error=LEAKY,
        mock=st.booleans(),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
METADATA: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.dictionaries(st.text(max_size=4), JSON, max_size=3)
TRACKS = st.builds(
    TrackSubmitted,
    item_id=st.text(min_size=1, max_size=20),
    url=st.just(f"https://audio.example.com/a.mp3?signature={SECRET}"),
    metadata=METADATA,
    policy=st.sampled_from([None, "two-tier", "certification", "strict", "permissive"]),
)
HEADER_NAMES = st.sampled_from(["traceparent", "TraceState", "baggage", "b3", "X-B3-TraceId", "ce_id", "ce_type"]) | (
    st.sampled_from(["dlq_error", "dlq_path", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_time", "dlq_mine"])
)
HEADERS = st.lists(st.tuples(HEADER_NAMES, st.none() | st.binary(max_size=5)), max_size=6).map(tuple)
RECORDS = st.builds(
    Record,
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,30}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2_000_000_000_000),
    key=st.none() | st.binary(max_size=5),
    value=st.none() | st.binary(max_size=20),
    headers=HEADERS,
)
