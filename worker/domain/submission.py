"""What a submitted track is, and how an event is read (schemas/track-submitted.v1.json is the source)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TrackSubmitted:
    """One track to be analysed: exactly what the API needs, and what the decision echoes."""

    item_id: str
    url: str | None = field(repr=False, default=None)
    file_id: str | None = None
    submitted_at: str | None = None
    metadata: Mapping[str, Any] | None = field(repr=False, default=None)
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a record is no event: a code from a bounded set and the JSON pointer of the offending field."""

    code: str
    path: str = ""
