"""CloudEvents 1.0 on Kafka: how an envelope is told from a plain event, and the headers that trace an event.

- Structured mode: the `content-type` header says `application/cloudevents…`. That header decides, as the Kafka
  protocol binding has it. One fallback: producers that drop the header (consoles, connectors) are understood when
  the value has a `specversion` text and no `item_id` at its top; no plain event can look so, for it must have one.
- Binary mode: the value is the plain event itself, and no attribute in the `ce_` headers changes how it is read.
- Of an envelope only `specversion` and `data` are read; `id`, `type` and `source` are the sender's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.domain.record import Headers

SPECVERSION = "1.0"
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
    """Name the envelope's attribute that keeps us from its data: a foreign version, or no `data` member.

    A `data_base64` member counts as none: the event is JSON, which the JSON format carries as it is.
    """
    version = envelope.get("specversion")
    if not isinstance(version, str) or not version.startswith("1."):
        return "specversion"
    return None if "data" in envelope else "data"


def trace_headers(headers: Headers) -> Headers:
    """Pick the headers that tie a message to its trace (W3C, B3, Jaeger, Datadog, AWS, GCP, Sentry), as given."""
    return tuple(header for header in headers if header[1] is not None and _traces(header[0].lower()))


def _traces(name: str) -> bool:
    return name in _TRACE_NAMES or name.startswith(_TRACE_PREFIXES)
