"""The table of sample cases: what is submitted, and what must become of it under which policy.

`scenario` is what the simulated API finds in the track (api/scenarios.py). The decisions were derived from the
specification of the policies, not from the worker's policy files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DEAD_LETTER = "dead_letter"
TOO_DEEP = 70  # levels of metadata; the contract allows 64


@dataclass(frozen=True, slots=True)
class Case:
    """A readable event. `generation`: the only one this expectation holds for. `policy` None: the default."""

    name: str
    scenario: str
    decision: str
    reason: str | None = None
    policy: str | None = None
    form: str = "plain"
    audio: str = "url"
    generation: int | None = None
    credits: int = 1
    times_out: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that is no event, and the code of its dead letter."""

    code: str
    value: bytes | None = field(repr=False)

    @property
    def name(self) -> str:
        """The case's name."""
        return f"malformed {self.code}"


_CASES = (
    Case("human", "human", "approve"),
    Case("ai", "ai", "reject", "human_safe_suspicious"),
    Case("borderline", "borderline", "manual_review", "recall_suspicious_borderline"),
    Case("inconclusive", "inconclusive", "approve"),
    Case("null tiers", "null-tiers", "manual_review", "tier_not_evaluated"),
    Case("unknown tier word", "unknown-word", "manual_review", "tier_not_evaluated"),
    Case("failed", "failed", "manual_review", "analysis_failed"),
    Case("failed without error", "failed-no-error", "manual_review", "analysis_failed"),
    Case("too slow", "slow", "manual_review", "analysis_timeout", times_out=True),
    Case("never ends", "stuck", "manual_review", "analysis_timeout", times_out=True),
    Case("verdict contradicts tiers", "contradiction", "reject", "human_safe_suspicious"),
    Case("mock result", "mock", "manual_review", "mock_result"),
    Case("CloudEvent, structured", "human", "approve", form="structured"),
    Case("CloudEvent, binary", "ai", "reject", "human_safe_suspicious", form="binary"),
    Case("named two-tier", "human", "approve", policy="two-tier"),
    Case("certified", "human", "certified", policy="certification"),
    Case("certification refused", "ai", "rejected", "press_safe_suspicious", policy="certification"),
    Case("certification open", "inconclusive", "review", "inconclusive", policy="certification"),
    Case("origin contradicts", "generator-human", "review", "origin_contradicts_tier", policy="certification"),
    Case("strict, ai", "ai", "reject", "human_safe_suspicious", policy="strict"),
    Case("strict, borderline", "borderline", "reject", "recall_suspicious", policy="strict"),
    # Generation 2 sends no geo_score, and strict approves nothing without one.
    Case("strict, human", "human", "approve", policy="strict", generation=1),
    Case("strict, elevated", "elevated", "manual_review", "geo_score_elevated", policy="strict", generation=1),
    Case("strict, no geo_score", "human", "manual_review", "tier_not_evaluated", policy="strict", generation=2),
    Case("permissive, ai", "ai", "reject", "press_safe_suspicious", policy="permissive"),
    Case("permissive, in between", "contradiction", "manual_review", "human_safe_suspicious", policy="permissive"),
    Case("permissive, borderline", "borderline", "approve", policy="permissive"),
    Case("file_id", "human", "approve", audio="file_id", generation=1),
    # Generation 2 takes addresses only: nothing is asked, nothing is bought.
    Case("file_id refused", "human", "manual_review", "analysis_failed", audio="file_id", generation=2, credits=0),
)


def cases_of(generation: int) -> tuple[Case, ...]:
    """List the readable cases for this generation of the API."""
    return tuple(case for case in _CASES if case.generation in {None, generation})


def _item(rest: bytes) -> bytes:
    return b'{"item_id":"malformed",%b}' % rest


_URL = b'"url":"https://audio.example/malformed.flac"'
MALFORMED = (
    Malformed("tombstone", None),
    Malformed("not_json", b"<track>my-song.flac</track>"),
    Malformed("not_an_object", b'["malformed"]'),
    Malformed("bad_cloudevent", b'{"specversion":"1.0","type":"track.submitted.v1"}'),
    Malformed("missing_field", b"{%b}" % _URL),
    Malformed("wrong_type", b'{"item_id":17,%b}' % _URL),
    Malformed("too_short", b'{"item_id":"",%b}' % _URL),
    Malformed("too_long", b'{"item_id":"%b",%b}' % (b"x" * 513, _URL)),
    Malformed("too_deep", _item(_URL + b',"metadata":' + b'{"a":' * TOO_DEEP + b"1" + b"}" * TOO_DEEP)),
    Malformed("bad_url", _item(b'"url":"ftp://audio.example/malformed.flac"')),
    Malformed("bad_time", _item(_URL + b',"submitted_at":"yesterday"')),
    Malformed("no_audio", _item(b'"metadata":{}')),
    Malformed("two_audios", _item(_URL + b',"file_id":"file-1"')),
    Malformed("unknown_policy", _item(_URL + b',"policy":"lenient"')),
)


def smallest_count(generation: int) -> int:
    """How many events it takes to show every case once."""
    return len(MALFORMED) + len(cases_of(generation))
