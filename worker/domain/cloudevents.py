"""CloudEvents 1.0 on Kafka: how an envelope is told from a plain event, and the headers that trace an event.

- Structured mode: the `content-type` header says `application/cloudevents…`. That header decides, as the Kafka
  protocol binding has it. One fallback: producers that drop the header (consoles, connectors) are understood when
  the value has a `specversion` text and no `item_id` at its top; no plain event can look so, for it must have one.
- Binary mode: the value is the plain event itself, and no attribute in the `ce_` headers changes how it is read.
- An envelope carries the event in `data`, or in `data_base64` as the base64 of its JSON text; in both is an error.
  A member that is null beside the other is absent. Beside them only `specversion` and the trace are read; `id`, `type`
  and `source` are the sender's own affair.
- The distributed tracing extension (attributes `traceparent` and `tracestate`, in binary mode with `ce_` before them)
  is the trace of a record that has no `traceparent` header of its own. What is not sound there is left out: a trace is
  never a reason to refuse an event.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.domain.record import Headers

SPECVERSION = "1.0"
ENCODED = "data_base64"
_PARENT, _STATE = "traceparent", "tracestate"
_STRUCTURED = b"application/cloudevents"
_BINARY_MARK = "ce_specversion"
_TRACE_NAMES = frozenset({
    "traceparent",
    "tracestate",
    "baggage",
    "ce_traceparent",
    "ce_tracestate",
    "b3",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "sentry-trace",
})  # fmt: skip
_TRACE_PREFIXES = ("x-b3-", "x-datadog-", "ot-tracer-", "uberctx-")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
# W3C Trace Context: version ff and ids of zeros are invalid; 512 characters of state are what everybody must pass on.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(rb"[\t\x20-\x7e]{1,512}")


def is_structured(headers: Headers, value: dict[str, Any]) -> bool:
    """Whether the value is an envelope around the event."""
    binary = False
    for name, content in headers:
        lowered = name.lower()
        if lowered == "content-type" and content and content.lstrip()[:23].lower() == _STRUCTURED:
            return True
        binary = binary or lowered == _BINARY_MARK
    return not binary and "item_id" not in value and isinstance(value.get("specversion"), str)


def offending_attribute(envelope: dict[str, Any]) -> str | None:
    """Name the envelope's attribute that keeps us from its data: a foreign version, no data, or data twice."""
    version = envelope.get("specversion")
    if not isinstance(version, str) or not version.startswith("1."):
        return "specversion"
    if carries_base64(envelope):
        return ENCODED if envelope.get("data") is not None else None
    return None if "data" in envelope else "data"


def carries_base64(envelope: dict[str, Any]) -> bool:
    """Whether the event stands in `data_base64`."""
    return envelope.get(ENCODED) is not None


def decoded(text: str) -> bytes | None:
    """Read base64 with its padding (RFC 4648, section 4); None where it is none."""
    return base64.b64decode(text) if _BASE64.fullmatch(text) else None


def envelope_trace(envelope: dict[str, Any]) -> Headers:
    """Read the tracing extension of structured mode."""
    parent, state = (_bytes(envelope.get(name)) for name in (_PARENT, _STATE))
    return _sound(parent, state)


def trace_headers(headers: Headers, enveloped: Headers = ()) -> Headers:
    """Pick the headers that tie a message to its trace (W3C, B3, Jaeger, Datadog, AWS, GCP, Sentry), as given.

    What is not UTF-8 counts as absent: a decision's headers are text.
    `enveloped`: what `envelope_trace` found. It, or else binary mode's attributes, stands in for a `traceparent`.
    """
    own = tuple(header for header in headers if _traces(header[0].lower()) and _is_text(header[1]))
    by_name = {name.lower(): content for name, content in own}
    if _PARENT in by_name:
        return own
    extension = enveloped or _sound(by_name.get(f"ce_{_PARENT}"), by_name.get(f"ce_{_STATE}"))
    return own + tuple(header for header in extension if header[0] not in by_name)


def _sound(parent: bytes | None, state: bytes | None) -> Headers:
    """Parent, and state where that is sound; a state without a parent means nothing."""
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return ()
    first = (_PARENT, parent)
    return (first, (_STATE, state)) if state is not None and _TRACESTATE.fullmatch(state) else (first,)


def _bytes(value: object) -> bytes | None:
    return value.encode() if isinstance(value, str) else None


def _is_text(content: bytes | None) -> bool:
    try:
        return content is not None and content.decode() is not None
    except UnicodeDecodeError:
        return False


def _traces(name: str) -> bool:
    return name in _TRACE_NAMES or name.startswith(_TRACE_PREFIXES)
