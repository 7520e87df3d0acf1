"""What a submitted track is, and how an event is read (schemas/track-submitted.v1.json is the source).

- Reading is total: whatever the bytes, the answer is a track or the reason why there is none, never an exception.
- The decoder and the schema accept the same values. Where JSON Schema cannot say a rule (nesting of `metadata`,
  the loaded policies), the schema's description does.
- An optional field that is null is absent: most serialisers write absent fields so.
- Exactly one of `url` and `file_id`: a decision must never be about another recording than the sender meant.
- The first offending field is named, in the order item_id, audio, submitted_at, metadata, policy.
- Lengths count Unicode characters, as JSON Schema does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from worker.domain import cloudevents

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from worker.domain.record import Headers, Record

ID_MAX_CHARS = 512
URL_MAX_CHARS = 8_192
METADATA_MAX_DEPTH = 64  # far below the nesting at which orjson refuses to write the decision that echoes it

_HTTP_URL = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f/?#:@][^\x00-\x20\x7f]*")
_RFC3339 = re.compile(
    r"(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
    r"[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


class ReadError(StrEnum):
    """Why a record is no event. Bounded: safe as a metric label and in a header."""

    TOMBSTONE = "tombstone"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    BAD_CLOUDEVENT = "bad_cloudevent"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    BAD_URL = "bad_url"
    BAD_TIME = "bad_time"
    NO_AUDIO = "no_audio"
    TWO_AUDIOS = "two_audios"
    UNKNOWN_POLICY = "unknown_policy"


@dataclass(frozen=True, slots=True)
class TrackSubmitted:
    """One track to be analysed: exactly what the API needs, and what the decision echoes.

    `trace`: headers for the decision that the record's own do not have.
    """

    item_id: str
    url: str | None = field(repr=False, default=None)
    file_id: str | None = None
    submitted_at: str | None = None
    metadata: Mapping[str, Any] | None = field(repr=False, default=None)
    policy: str | None = None
    trace: Headers = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a record is no event: a code from a bounded set and the JSON pointer of the offending field."""

    code: ReadError
    path: str = ""


def decode(record: Record, policies: Collection[str]) -> TrackSubmitted | Unreadable:
    """Read one record: a plain JSON value, or a CloudEvent in structured or binary mode."""
    if record.value is None:
        return Unreadable(ReadError.TOMBSTONE)
    try:
        value = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return Unreadable(ReadError.NOT_JSON)
    if not isinstance(value, dict):
        return Unreadable(ReadError.NOT_AN_OBJECT)
    if cloudevents.is_structured(record.headers, value):
        return _enveloped(value, policies)
    return _first_problem(value, policies) or _track(value)


def _enveloped(envelope: dict[str, Any], policies: Collection[str]) -> TrackSubmitted | Unreadable:
    misplaced = cloudevents.offending_attribute(envelope)
    if misplaced is not None:
        return Unreadable(ReadError.BAD_CLOUDEVENT, f"/{misplaced}")
    encoded = cloudevents.carries_base64(envelope)
    path = f"/{cloudevents.ENCODED}" if encoded else "/data"
    data = _decoded(envelope[cloudevents.ENCODED]) if encoded else envelope["data"]
    if isinstance(data, ReadError):
        return Unreadable(data, path)
    if not isinstance(data, dict):
        return Unreadable(ReadError.NOT_AN_OBJECT, path)
    problem = _first_problem(data, policies)
    if problem is not None:
        return Unreadable(problem.code, path + problem.path)
    return _track(data, cloudevents.envelope_trace(envelope))


def _decoded(content: object) -> Any:
    """Read the JSON value in a text of base64, or say why there is none: a ReadError, which no JSON value is."""
    if not isinstance(content, str):
        return ReadError.WRONG_TYPE
    if (text := cloudevents.decoded(content)) is None:
        return ReadError.BAD_CLOUDEVENT
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return ReadError.NOT_JSON


def _track(event: dict[str, Any], trace: Headers = ()) -> TrackSubmitted:
    get = event.get
    return TrackSubmitted(
        event["item_id"], get("url"), get("file_id"), get("submitted_at"), get("metadata"), get("policy"), trace
    )


def _first_problem(event: dict[str, Any], policies: Collection[str]) -> Unreadable | None:
    get = event.get
    return (
        _item_id_problem(event)
        or _audio_problem(get("url"), get("file_id"))
        or _time_problem(get("submitted_at"))
        or _metadata_problem(get("metadata"))
        or _policy_problem(get("policy"), policies)
    )


def _item_id_problem(event: dict[str, Any]) -> Unreadable | None:
    if "item_id" not in event:
        return Unreadable(ReadError.MISSING_FIELD, "/item_id")
    return _text_problem(event["item_id"], "/item_id", ID_MAX_CHARS)


def _audio_problem(url: object, file_id: object) -> Unreadable | None:
    if url is None:
        if file_id is None:
            return Unreadable(ReadError.NO_AUDIO)
        return _text_problem(file_id, "/file_id", ID_MAX_CHARS)
    problem = _text_problem(url, "/url", URL_MAX_CHARS)
    if problem is None and file_id is not None:
        problem = Unreadable(ReadError.TWO_AUDIOS)
    if problem is None and not _matches(_HTTP_URL, url):
        problem = Unreadable(ReadError.BAD_URL, "/url")
    return problem


def _text_problem(value: object, path: str, max_chars: int) -> Unreadable | None:
    if not isinstance(value, str):
        return Unreadable(ReadError.WRONG_TYPE, path)
    if not value:
        return Unreadable(ReadError.TOO_SHORT, path)
    return Unreadable(ReadError.TOO_LONG, path) if len(value) > max_chars else None


def _time_problem(value: object) -> Unreadable | None:
    if value is None or _matches(_RFC3339, value):
        return None
    code = ReadError.BAD_TIME if isinstance(value, str) else ReadError.WRONG_TYPE
    return Unreadable(code, "/submitted_at")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _metadata_problem(value: object) -> Unreadable | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        return Unreadable(ReadError.WRONG_TYPE, "/metadata")
    too_deep = _nests_deeper(value, METADATA_MAX_DEPTH)
    return Unreadable(ReadError.TOO_DEEP, "/metadata") if too_deep else None


def _nests_deeper(value: dict[str, Any], levels: int) -> bool:
    """Level by level, without recursion: the nesting is the sender's, the stack is ours."""
    layer: list[dict[str, Any] | list[Any]] = [value]
    while layer and levels:
        layer = [child for parent in layer for child in _children(parent) if isinstance(child, (dict, list))]
        levels -= 1
    return bool(layer)


def _children(parent: dict[str, Any] | list[Any]) -> Collection[Any]:
    return parent.values() if isinstance(parent, dict) else parent


def _policy_problem(value: object, policies: Collection[str]) -> Unreadable | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return Unreadable(ReadError.WRONG_TYPE, "/policy")
    return None if value in policies else Unreadable(ReadError.UNKNOWN_POLICY, "/policy")
