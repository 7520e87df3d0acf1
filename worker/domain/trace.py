"""What ties a message to its trace: the headers of the common tracers, and W3C Trace Context among them, read.

- Headers are passed on as they came, whoever's they are. Only `traceparent` and `tracestate` are written anew, and only
  where the decision has a span of its own: then they name that one, in the same trace.
- A record without a `traceparent` header of its own has the trace of CloudEvents' distributed tracing extension
  (attributes `traceparent` and `tracestate`, in binary mode with `ce_` before them).
- What is not sound is left out: a trace is never a reason to refuse an event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.domain.record import Headers

PARENT, STATE = "traceparent", "tracestate"
_OWN = frozenset({PARENT, STATE, f"ce_{PARENT}", f"ce_{STATE}"})
_NAMES = _OWN | {"baggage", "b3", "uber-trace-id", "x-amzn-trace-id", "x-cloud-trace-context", "sentry-trace"}
_PREFIXES = ("x-b3-", "x-datadog-", "ot-tracer-", "uberctx-")
_SAMPLED = 0x01
# W3C Trace Context: version ff and ids of zeros are invalid; 512 characters of state are what everybody must pass on.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_TRACESTATE = re.compile(rb"[\t\x20-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span of a trace. Ids are lower-case hex, 32 and 16 digits; `is_remote`: it came with the record."""

    trace_id: str
    span_id: str
    flags: int = _SAMPLED
    state: str | None = None
    is_remote: bool = False

    @property
    def sampled(self) -> bool:
        """Whether somebody keeps the trace."""
        return bool(self.flags & _SAMPLED)


def carried(headers: Headers, extension: Headers = ()) -> Headers:
    """Pick the headers that tie a message to its trace (W3C, B3, Jaeger, Datadog, AWS, GCP, Sentry), as given.

    What is not UTF-8 counts as absent: a decision's headers are text.
    `extension`: that of an envelope. It, or else binary mode's attributes, stands in for a `traceparent`.
    """
    own = tuple(header for header in headers if _traces(header[0].lower()) and _is_text(header[1]))
    by_name = {name.lower(): content for name, content in own}
    if PARENT in by_name:
        return own
    found = extension or sound(by_name.get(f"ce_{PARENT}"), by_name.get(f"ce_{STATE}"))
    return own + tuple(header for header in found if header[0] not in by_name)


def context(headers: Headers) -> TraceContext | None:
    """Read the context among headers that `carried` gave; None where there is none, or none that is sound."""
    by_name = {name.lower(): content for name, content in headers}
    parent = by_name.get(PARENT)
    found = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    if found is None:
        return None
    state = by_name.get(STATE)
    kept = state.decode() if state is not None and _TRACESTATE.fullmatch(state) else None
    return TraceContext(found[1].decode(), found[2].decode(), int(found[3], 16), kept, is_remote=True)


def passed_on(headers: Headers, own: TraceContext | None) -> Headers:
    """Make a decision's headers of those that `carried` gave: as they came, or naming a span of our own."""
    if own is None or own.is_remote:
        return headers
    rest = tuple(header for header in headers if header[0].lower() not in _OWN)
    parent = f"00-{own.trace_id}-{own.span_id}-{own.flags:02x}"
    state: Headers = ((STATE, own.state.encode()),) if own.state else ()
    return (*rest, (PARENT, parent.encode()), *state)


def sound(parent: bytes | None, state: bytes | None) -> Headers:
    """Parent, and state where that is sound; a state without a parent means nothing."""
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return ()
    first = (PARENT, parent)
    return (first, (STATE, state)) if state is not None and _TRACESTATE.fullmatch(state) else (first,)


def _is_text(content: bytes | None) -> bool:
    try:
        return content is not None and content.decode() is not None
    except UnicodeDecodeError:
        return False


def _traces(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)
