"""How a dead letter is shown: one line, one JSON object, or in full. What strangers sent is escaped and bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from worker.domain.decision import rfc3339
from worker.domain.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.domain.record import Record
    from worker.domain.replay import Candidate

KEY_BYTES = 40
HEADER_BYTES = 200
_WORD_BYTES = 60  # of the codes that the worker wrote itself, unless someone else did
_LAST_TIMESTAMP_MS = 253_402_300_799_999  # the end of year 9999


def line(candidate: Candidate, letter: Record, *, replayed: bool) -> str:
    """Place, time, error, path, origin, key, and whether it was replayed."""
    shown = _shown(candidate, letter)
    return (
        f"{shown['at']:<12} {shown['time'] or '-':<24} {shown['error'] or '-':<15} {shown['path'] or '/':<14} "
        f"from {shown['origin'] or '?'}  key {shown['key']}{'  replayed' if replayed else ''}"
    )


def json_line(candidate: Candidate, letter: Record, *, replayed: bool) -> str:
    """The same as one JSON object; `origin` as text and by its parts."""
    origin = candidate.origin
    source = None if origin is None else {"partition": origin.partition, "offset": origin.offset}
    return orjson.dumps({**_shown(candidate, letter), "source": source, "replayed": replayed}).decode()


def details(candidate: Candidate, letter: Record, *, replayed: bool, payload: int) -> Iterator[str]:
    """Everything; of the payload the first `payload` bytes, its size alone where that is 0."""
    yield line(candidate, letter, replayed=replayed)
    for name, content in letter.headers:
        yield f"  {printable(name.encode(), HEADER_BYTES)}: {printable(content, HEADER_BYTES)}"
    size = 0 if letter.value is None else len(letter.value)
    yield f"payload: {size} bytes" + ("" if payload else ", shown with --payload")
    if payload:
        yield printable(letter.value, payload)


def _shown(candidate: Candidate, letter: Record) -> dict[str, Any]:
    return {
        "at": str(candidate.position),
        "time": _time(candidate.timestamp_ms),
        "error": printable(candidate.reason.encode(), _WORD_BYTES),
        "path": printable(candidate.path.encode(), _WORD_BYTES),
        "origin": None if candidate.origin is None else _origin(candidate),
        "key": printable(letter.key, KEY_BYTES),
    }


def _origin(candidate: Candidate) -> str:
    return printable(str(candidate.origin).encode(), HEADER_BYTES)


def _time(unix_ms: int) -> str | None:
    return rfc3339(datetime.fromtimestamp(unix_ms / 1000, UTC)) if 0 <= unix_ms <= _LAST_TIMESTAMP_MS else None
