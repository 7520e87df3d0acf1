"""CloudEvents 1.0 on Kafka: how an envelope is told from a plain event, and what is read of it.

- Structured mode: the `content-type` header says `application/cloudevents…`. That header decides, as the Kafka
  protocol binding has it. One fallback: producers that drop the header (consoles, connectors) are understood when
  the value has a `specversion` text and no `item_id` at its top; no plain event can look so, for it must have one.
- Binary mode: the value is the plain event itself, and no attribute in the `ce_` headers changes how it is read.
- An envelope carries the event in `data`, or in `data_base64` as the base64 of its JSON text; in both is an error.
  A member that is null beside the other is absent. Beside them only `specversion` and the trace are read; `id`, `type`
  and `source` are the sender's own affair.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from worker.domain import trace

if TYPE_CHECKING:
    from worker.domain.record import Headers

SPECVERSION = "1.0"
ENCODED = "data_base64"
_STRUCTURED = b"application/cloudevents"
_BINARY_MARK = "ce_specversion"
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


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
    parent, state = (_bytes(envelope.get(name)) for name in (trace.PARENT, trace.STATE))
    return trace.sound(parent, state)


def _bytes(value: object) -> bytes | None:
    return value.encode() if isinstance(value, str) else None
