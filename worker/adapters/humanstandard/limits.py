"""What an answer's headers say of time: the quota and how long to wait. Whatever cannot be read is absent.

`X-RateLimit-Reset` and a dated `Retry-After` are moments of the server's clock. Its `Date` tells that clock to the
second, so ours is used where the two agree as far as that shows, and the server's where they do not.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from worker.flow.replies import Quota

if TYPE_CHECKING:
    import httpx

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_DAY_SECONDS: Final = 86_400.0
# All requests wait for it. The quota's windows last a minute: whoever asks for more is asked again by one request.
MOST_WAIT_SECONDS: Final = 600.0
_CLOCKS_AGREE_SECONDS: Final = 2.0  # Date is cut to the second, and the answer took its time


def quota_of(headers: httpx.Headers, *, wall: float) -> Quota | None:
    """Read the rate limit; None where no header says anything of it. `wall` is Unix seconds."""
    limit, remaining = _whole(headers, "x-ratelimit-limit"), _whole(headers, "x-ratelimit-remaining")
    reset = _seconds(headers.get("x-ratelimit-reset"))
    reset_seconds = None if reset is None else _until(reset, headers, wall)
    if limit is None and remaining is None and reset_seconds is None:
        return None
    return Quota(limit, remaining, reset_seconds)


def retry_after_of(headers: httpx.Headers, *, wall: float) -> float | None:
    """Read Retry-After, seconds or a date, as seconds from now, bounded."""
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _seconds(text)
    if seconds is None:
        moment = _moment(text)
        seconds = None if moment is None else _until(moment, headers, wall)
    return None if seconds is None else min(seconds, MOST_WAIT_SECONDS)


def _until(moment: float, headers: httpx.Headers, wall: float) -> float | None:
    """Seconds from now until a moment of the server's clock; None for one more than a day away, either way."""
    server = _moment(headers.get("date", ""))
    now = wall if server is None or abs(wall - server) <= _CLOCKS_AGREE_SECONDS else server
    return max(0.0, moment - now) if abs(moment - now) <= _DAY_SECONDS else None


def _whole(headers: httpx.Headers, name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if _WHOLE.fullmatch(text) else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and _SECONDS.fullmatch(text := text.strip()) else None


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
