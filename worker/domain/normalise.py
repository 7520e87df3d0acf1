"""One Analysis out of the replies of both API generations; never raises, whatever the JSON holds.

- A field of the wrong type is absent. Booleans are no numbers; numbers that are not finite are absent, and so are
  scores outside 0-1: read on another scale, 73 might mean 0.73, and -1 might mean nothing at all.
- Tier words are taken literally: `human` is human, `suspicious` and generation 2's `ai` are suspicious, null or
  absent is not evaluated, everything else (another case, another type) is unknown.
- Success needs a status word that says so, or none at all. `failed` fails; so does any other word on a result, and
  a result with an error but no verdict. Its signals are kept for the reviewer.
- Whatever is not plainly false under `mock` makes a mock, and so does a named mock scenario.
- Nothing that could carry an access token gets through: `origin_map` is whitelisted, addresses and query strings
  are cut out of texts, and every text and list is bounded.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from worker.domain.analysis import Analysis, AnalysisStatus, Tier, TierValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

MAX_WINDOWS = 2_048  # 42 minutes of 1.25 s hops; with segments a decision stays far under Kafka's 1 MB
MAX_TEXT = 500
MAX_WORD = 120
MAX_COUNTS = 50
MAX_KEYS = 20

NO_SUCCESS = "status_unknown"  # our own error where the API's status is neither success nor failure

_MAX_COUNT = 2**53
_SUCCESS = (None, "success", "complete")
_TIER_WORDS = {"human": TierValue.HUMAN, "suspicious": TierValue.SUSPICIOUS, "ai": TierValue.SUSPICIOUS}
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{0,20}(?::|%3a)(?:\\?/|%2f){2}\S*", re.IGNORECASE)
_QUERY = re.compile(r"(?:\?|%3f)\S+", re.IGNORECASE)
_BEARER = re.compile(r"bearer\s+\S+", re.IGNORECASE)
_HARMLESS = re.compile(
    r"[A-Za-z0-9_.:+-]*"
)  # neither an address nor a query nor two words: the usual case, told at once
_NUMBERS = frozenset({int, float})
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True, slots=True)
class UnknownShape:
    """A reply that is no result of either generation. `keys` are its first key names, never values."""

    keys: tuple[str, ...]


def analysis_of(body: object, *, job_id: str | None = None) -> Analysis | UnknownShape:
    """Read a generation 1 reply, a generation 2 result, or a generation 2 status reply that is complete or failed.

    `job_id` is the job that was asked for; without it the reply's own is taken.
    """
    if not isinstance(body, dict):
        return UnknownShape(())
    inner = body.get("result")
    own = body.get("verdict") is not None or body.get("tier_verdicts") is not None
    result = inner if isinstance(inner, dict) and not own else body
    if not _is_result(result) and "failed" not in (body.get("status"), result.get("status")):
        return UnknownShape(_key_names(body))
    return _analysis(result, outer=body, job_id=job_id)


def _is_result(result: Mapping[str, Any]) -> bool:
    """Tell results from job replies: a verdict, even null, or tiers. An unfinished job may show a null verdict."""
    if result.get("verdict") is not None or result.get("tier_verdicts") is not None:
        return True
    return "verdict" in result and result.get("status") in _SUCCESS


def _analysis(result: Mapping[str, Any], *, outer: Mapping[str, Any], job_id: str | None) -> Analysis:
    scores = _object(result.get("scores"))
    tiers = result.get("tier_verdicts")
    return Analysis(
        status=_status(result, outer),
        press_safe=_tier(tiers, Tier.PRESS_SAFE),
        human_safe=_tier(tiers, Tier.HUMAN_SAFE),
        recall=_tier(tiers, Tier.RECALL),
        tier_words=_tier_words(tiers),
        verdict=_word(result.get("verdict")),
        truth_score=_first(_score, scores.get("truth_score"), result.get("ai_probability")),
        geo_score=_score(scores.get("geo_score")),
        proto_score=_score(scores.get("proto_score_v1")),
        head_a=_score(scores.get("head_a")),
        head_b=_score(scores.get("head_b")),
        head_c=_score(scores.get("head_c")),
        confidence=_first(_score, result.get("confidence"), result.get("confidence_full_mix")),
        origin=_word(result.get("origin")),
        origin_confidence=_score(result.get("origin_confidence")),
        origin_map=_origin_map(result.get("origin_map")),
        risk_series=_first(_series, result.get("risk_series"), result.get("risk_timeline")),
        risk_segments=_first(_segments, result.get("risk_segments_full_mix"), result.get("risk_segments")),
        model_version=_word(result.get("model_version")),
        calibration_version=_word(result.get("calibration_version")),
        processed_at=_word(result.get("processed_at")),
        job_id=job_id or _word(result.get("job_id")) or _word(outer.get("job_id")),
        error=_error(result, outer),
        mock=_is_mock(result) or _is_mock(outer),
    )


def _status(result: Mapping[str, Any], outer: Mapping[str, Any]) -> AnalysisStatus:
    words = (result.get("status"), outer.get("status"))
    complains = bool(result.get("error") or outer.get("error"))
    if any(word not in _SUCCESS for word in words) or (complains and _word(result.get("verdict")) is None):
        return AnalysisStatus.FAILED
    return AnalysisStatus.SUCCESS


def _error(result: Mapping[str, Any], outer: Mapping[str, Any]) -> str | None:
    """Give the API's own cause; ours where a status word is the whole complaint."""
    error = _text(result.get("error"), MAX_TEXT) or _text(outer.get("error"), MAX_TEXT)
    odd = any(each.get("status") not in (*_SUCCESS, "failed") for each in (result, outer))
    return error or (NO_SUCCESS if odd else None)


def _is_mock(body: Mapping[str, Any]) -> bool:
    flag = body.get("mock")
    return not (flag is None or flag is False) or body.get("mock_scenario") is not None


def _tier(tiers: object, tier: Tier) -> TierValue:
    if tiers is None:
        return TierValue.NOT_EVALUATED
    if not isinstance(tiers, dict):
        return TierValue.UNKNOWN
    word = tiers.get(tier)
    if word is None:
        return TierValue.NOT_EVALUATED
    return _TIER_WORDS.get(word, TierValue.UNKNOWN) if isinstance(word, str) else TierValue.UNKNOWN


def _tier_words(tiers: object) -> dict[str, str | None] | None:
    if not isinstance(tiers, dict):
        return None
    return {tier.value: _word(tiers.get(tier)) for tier in Tier if tier in tiers}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer that no float can hold
        return None
    return number if math.isfinite(number) else None


def _score(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None


def _first(read: Callable[[object], T | None], *values: object) -> T | None:
    """Give the first value that can be read: the generations have two names for one thing."""
    for value in values:
        if (found := read(value)) is not None:
            return found
    return None


def _word(value: object) -> str | None:
    return _text(value, MAX_WORD)


def _text(value: object, limit: int) -> str | None:
    if not isinstance(value, str):
        return None
    text = value[: 4 * limit]  # before the search, which would take long on a megabyte
    if _HARMLESS.fullmatch(text):
        return text[:limit] or None
    for secret in (_ADDRESS, _BEARER, _QUERY):
        text = secret.sub("[removed]", text)
    return text.strip()[:limit] or None


def _series(value: object) -> tuple[float, ...] | None:
    """Read a series whole or not at all: a value's place in it is its time."""
    if not isinstance(value, list):
        return None
    head = value[:MAX_WINDOWS]
    if not _NUMBERS.issuperset(map(type, head)):
        return None
    try:
        numbers = tuple(map(float, head))
    except OverflowError:  # an integer that no float can hold
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _segments(value: object) -> tuple[Mapping[str, float], ...] | None:
    """Read the segments that are whole; each carries its own times."""
    if not isinstance(value, list):
        return None
    found = (_segment(_object(each)) for each in value[:MAX_WINDOWS])
    return tuple(segment for segment in found if segment is not None)


def _segment(value: Mapping[str, Any]) -> Mapping[str, float] | None:
    segment = {name: _number(value.get(name)) for name in ("start", "end", "risk")}
    whole = {name: number for name, number in segment.items() if number is not None}
    return whole if len(whole) == len(segment) else None


def _origin_map(value: object) -> dict[str, Any] | None:
    found = {
        "nearest_population": _word(_object(value).get("nearest_population")),
        "summary_line": _text(_object(value).get("summary_line"), MAX_TEXT),
        "neighborhood": _neighborhood(_object(value).get("neighborhood")),
    }
    return _without_absent(found)


def _neighborhood(value: object) -> dict[str, Any] | None:
    counts = list(_object(_object(value).get("counts")).items())[:MAX_COUNTS]
    named = {_word(name): _count(number) for name, number in counts}
    found = {
        "k": _count(_object(value).get("k")),
        "counts": {name: number for name, number in named.items() if name and number is not None} or None,
        "dominant": _word(_object(value).get("dominant")),
    }
    return _without_absent(found)


def _count(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and 0 <= number < _MAX_COUNT and number.is_integer() else None


def _without_absent(found: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in found.items() if value is not None} or None


def _key_names(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the keys; a key that is no plain word might be anything, so it only shows as `?`."""
    return tuple(key if _PLAIN_KEY.fullmatch(key) else "?" for key in list(body)[:MAX_KEYS])
