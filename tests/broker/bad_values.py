"""Values that are no event and values that look odd and are one, each so by its construction.

Nothing here asks the code under test: a value is made from an event in a way of which schemas/track-submitted.v1.json,
JSON itself (RFC 8259) or CloudEvents 1.0 says what it is. Numbers that no double holds count as no JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.broker.traffic import SCENARIOS, SECRET

if TYPE_CHECKING:
    import random

# In every place of a payload that no log and no decision may show.
MARK = "mark-of-a-payload-"
ASTRAL = "\U0001f3b5"
ID_CHARS, URL_CHARS, NESTING = 512, 8_192, 64
GIANT_BYTES = 1_000_000  # below what a broker takes by default, with room for the headers of a dead letter
GIANT_METADATA_BYTES = 400_000
MOST_NESTING = 1_000


@dataclass(frozen=True, slots=True)
class Base:
    """A readable event to start from. Its address has a secret and is its own alone."""

    run: str
    number: int
    draw: random.Random

    @property
    def url(self) -> str:
        scenario = SCENARIOS[self.number % len(SCENARIOS)]
        own = f"{self.run}-{self.number}"
        return f"https://audio.example/{own}.flac?sandbox={scenario}&token={SECRET}{own}"

    def event(self, **changes: Any) -> dict[str, Any]:
        """The event with fields changed or, by `...`, left out."""
        event = {"item_id": f"{self.run}-{self.number}", "url": self.url, "extra": f"{MARK}{self.number}", **changes}
        return {name: value for name, value in event.items() if value is not ...}

    def text(self, **changes: Any) -> bytes:
        return json.dumps(self.event(**changes), ensure_ascii=self.coin()).encode()

    def with_raw(self, field: str, raw: bytes) -> bytes:
        """The event with one more field, whose value is these very bytes."""
        return self.text()[:-1] + b', "%s": ' % field.encode() + raw + b"}"

    def one_of(self, *options: Any) -> Any:
        return self.draw.choice(options)

    def coin(self) -> bool:
        return self.draw.random() < 0.5

    def filling(self, size: int) -> str:
        """So many characters that look like nothing else, the mark among them."""
        return (MARK + "".join(self.draw.choices("abcdefghij ", k=997)) * (size // 997 + 1))[:size]


Kind = Callable[[Base], bytes | None]


def nested(levels: int, *, lists: bool) -> bytes:
    """So many objects or lists in each other."""
    return b"[" * levels + b"]" * levels if lists else b'{"k":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def envelope(base: Base, **changes: Any) -> bytes:
    """A CloudEvent in structured mode."""
    attributes = {"specversion": "1.0", "id": MARK, "source": "/s", "type": "t", "data": base.event(), **changes}
    return json.dumps({name: value for name, value in attributes.items() if value is not ...}).encode()


def invalid_utf8(base: Base) -> bytes:
    bad = base.one_of(b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xf0\x9f\x8e", b"\xc3")
    return base.with_raw(base.one_of("extra", "metadata", "item_id"), b'"a' + bad + b'"')


def lone_surrogate(base: Base) -> bytes:
    bad = base.one_of(b"\\ud800", b"\\udfff", b"\\udfff\\ud800", b"\\ud800 \\udc00", b"\\uDBFFx")
    return base.with_raw(base.one_of("extra", "item_id", "url"), b'"' + bad + b'"')


def bad_number(base: Base) -> bytes:
    bad = (b"01", b"1.", b".5", b"+1", b"0x10", b"1e", b"NaN", b"Infinity", b"-Infinity", b"--1", b"1_0", b"1e400")
    return base.with_raw("extra", base.one_of(*bad, b"-1e400", b"9" * 400))


def bad_string(base: Base) -> bytes:
    raw_control = bytes([base.draw.randrange(32)])
    return base.with_raw("extra", b'"%s"' % base.one_of(raw_control, b"\\x41", b"\\u12", b"\\U0001f3b5", b"\\'", b"\\"))


def wrong_type(base: Base) -> bytes:
    """Null is no wrong type for an optional field: it counts as absent."""
    field = base.one_of("item_id", "url", "file_id", "submitted_at", "metadata", "policy")
    others = {"url": ...} if field == "file_id" else {}
    wrong = [7, -0.5, True, False, [], [MARK], MARK if field == "metadata" else {MARK: MARK}]
    return base.text(**others, **{field: base.one_of(*wrong, *([None] if field == "item_id" else []))})


def bad_url(base: Base) -> bytes:
    bad = ("ftp://a/b", "//a/b", "a.flac", "https://", "https:///a", "http://a b", "http://a/\n", " https://a/b", "")
    return base.text(
        url=base.one_of(*bad, "http:a", "javascript:x", "file:///etc/passwd", "https://x/\x7f", "http://?")
    )


def bad_time(base: Base) -> bytes:
    bad = ("now", "", "2026-09-14", "2026-09-14T09:30:00", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z")
    return base.text(submitted_at=base.one_of(*bad, "2026-09-14T24:00:00Z", "2026-09-14 09:30:00Z", "0000-00-00T0Z"))


def bad_envelope(base: Base) -> bytes:
    data = base.one_of(..., None, 7, "text", [], [base.event()], {}, base.event(item_id=7), base.event(url=...))
    return envelope(base, data=data) if base.coin() else envelope(base, specversion=base.one_of("0.3", "2.0", ""))


NO_EVENT: Mapping[str, Kind] = {
    "nothing": lambda base: base.one_of(b"", b" ", b"\n\n", b"\x00", b"\x00" * 1_000),
    "tombstone": lambda _: None,
    "noise": lambda base: b"\xff" + base.draw.randbytes(base.draw.randrange(400)),
    "truncated": lambda base: (text := base.text())[: base.draw.randrange(len(text))],
    "more behind it": lambda base: base.text() + base.one_of(b"x", b"\x00", b"{}", b",", b"}", base.text()),
    "byte order mark": lambda base: b"\xef\xbb\xbf" + base.text(),
    "other encoding": lambda base: base.text().decode().encode(base.one_of("utf-16", "utf-16-le", "utf-32")),
    "invalid utf-8": invalid_utf8,
    "lone surrogate": lone_surrogate,
    "bad number": bad_number,
    "bad string": bad_string,
    "python's word": lambda base: repr(base.event()).encode(),
    "trailing comma": lambda base: base.text()[:-1] + b",}",
    "comment": lambda base: base.one_of(b"/* %s */" + base.text(), base.text() + b"// %s") % MARK.encode(),
    "no object": lambda base: base.one_of(b"[]", b"17", b"null", b"true", b'"text"', b"[%s]" % base.text()),
    "nested lists": lambda base: nested(base.draw.randrange(2, MOST_NESTING), lists=True),
    "nested beyond reason": lambda base: nested(base.one_of(2_000, 20_000, 100_000), lists=base.coin()),
    "open for ever": lambda base: base.one_of(b"[", b'{"a":', b'[{"":') * base.draw.randrange(1, 30_000),
    "no id": lambda base: base.text(item_id=...),
    "empty id": lambda base: base.text(item_id=""),
    "long id": lambda base: base.text(item_id=base.one_of("x", "\xe9", ASTRAL) * (ID_CHARS + base.one_of(1, 2, 600))),
    "wrong type": wrong_type,
    "no audio": lambda base: base.text(url=base.one_of(..., None), file_id=base.one_of(..., None)),
    "two audios": lambda base: base.text(file_id="a file"),
    "bad address": bad_url,
    "long address": lambda base: base.text(url="https://a/" + "x" * (URL_CHARS - 9 + base.one_of(0, 1, 90))),
    "bad file": lambda base: base.text(url=..., file_id=base.one_of("", "f" * (ID_CHARS + 1), ASTRAL * (ID_CHARS + 1))),
    "bad time": bad_time,
    "deep metadata": lambda base: base.with_raw(
        "metadata", nested(base.one_of(NESTING + 1, NESTING + 2, 500), lists=False)
    ),
    "unknown policy": lambda base: base.text(policy=base.one_of("", "TWO-TIER", "two-tier ", "../strict", MARK * 9)),
    "last of a name is bad": lambda base: base.with_raw(base.one_of("item_id", "url", "metadata"), b"7"),
    "bad envelope": bad_envelope,
}

ODD_EVENT: Mapping[str, Kind] = {
    "plain": lambda base: base.text(),
    "any word": lambda base: base.text(
        item_id=f"{base.number} \u202e\u0000\x7f\n\"\\/<&>'\u2028 {ASTRAL} e\u0301 \ufeff"
    ),
    "longest id": lambda base: base.text(item_id=(f"{base.number}" + base.one_of("x", ASTRAL) * ID_CHARS)[:ID_CHARS]),
    "longest address": lambda base: base.text(url=base.url + "&x=" + "x" * (URL_CHARS - len(base.url) - 3)),
    "odd address": lambda base: base.text(url=f"HTTP://[::1]:8443/\xe9{ASTRAL}{base.number}?#'\"\\"),
    "file": lambda base: base.text(url=base.one_of(..., None), file_id=f"{base.number}{ASTRAL}"[:ID_CHARS]),
    "nulls": lambda base: base.text(file_id=None, submitted_at=None, metadata=None, policy=None),
    "escaped": lambda base: (
        b'{"\\u0069tem_id": "\\u00e9\\ud83c\\udfb5\\u0000\\/ %d", "url": %s}'
        % (base.number, json.dumps(base.url).encode())
    ),
    "white space": lambda base: b" \t\r\n" + base.text().replace(b", ", b" ,\n\t") + b"\n" * base.draw.randrange(99),
    "odd numbers": lambda base: base.with_raw(
        base.one_of("extra", "more"), base.one_of(b"-0", b"-0.0", b"1E5", b"1e-400", b"9" * 300, b"0e999", b"1e308")
    ),
    "numbers in metadata": lambda base: base.with_raw(
        "metadata", b'{"a": [-0, -0.0, 1e-400, %s, 0.1e1, 18446744073709551616, 1E15]}' % (b"9" * 300)
    ),
    "nested unknown": lambda base: base.with_raw("more", nested(base.draw.randrange(2, 900), lists=base.coin())),
    "deepest metadata": lambda base: base.with_raw("metadata", nested(NESTING, lists=False)),
    "odd metadata": lambda base: base.text(
        metadata={"": "", MARK: [None, {}, []], "\u0000\n": ASTRAL, "__proto__": {}}
    ),
    "first of a name is bad": lambda base: (
        b'{"item_id": 7, "url": [], "policy": "none", "metadata": "",' + base.text(policy="strict", metadata={})[1:]
    ),
    "policy": lambda base: base.text(policy=base.one_of("two-tier", "certification", "strict", "permissive")),
    "odd time": lambda base: base.text(
        submitted_at=base.one_of("2024-02-29t23:59:60z", "0000-01-01T00:00:00-23:59", "9999-12-31T23:59:59.9999999999Z")
    ),
    "unknown fields": lambda base: base.text(**{f"field-{n}": base.one_of(None, [MARK], {"": {}}) for n in range(200)}),
    "envelope": lambda base: envelope(
        base, specversion=base.one_of("1.0", "1.1"), extension=MARK, datacontenttype="application/json"
    ),
}

GIANT_NO_EVENT: Mapping[str, Kind] = {
    "giant noise": lambda base: b"\xff" + base.draw.randbytes(GIANT_BYTES),
    "giant id": lambda base: base.text(item_id=base.filling(GIANT_BYTES - 1_000)),
    "giant address": lambda base: base.text(url="https://a/" + base.filling(GIANT_BYTES - 1_000).replace(" ", "-")),
    "giant number": lambda base: base.with_raw("extra", b"9" * (GIANT_BYTES - 1_000)),
    "giant nesting": lambda base: nested(GIANT_BYTES // 6, lists=base.coin()),
    "giant zeros": lambda _: bytes(GIANT_BYTES),
}

GIANT_EVENT: Mapping[str, Kind] = {
    "giant unknown": lambda base: base.text(more=base.filling(GIANT_BYTES - 2_000)),
    "giant space": lambda base: b" " * (GIANT_BYTES - 2_000) + base.text(),
    "giant metadata": lambda base: base.text(metadata={"text": base.filling(GIANT_METADATA_BYTES)}),
    # Numbers are written out again, up to 3.8 times as long: a decision can be larger than its event.
    "growing metadata": lambda base: base.with_raw("metadata", b'{"a": [%s]}' % b",".join([b"1E15"] * 45_000)),
    "wide metadata": lambda base: base.text(metadata={str(number): [] for number in range(GIANT_METADATA_BYTES // 14)}),
}
