"""The simulated API's fixed answers: what each fault that strikes before a scan's acceptance looks like."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import orjson

from worker.sandbox.api.faults import Trouble

_JSON = "application/json"
_HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply. `drop` closes the connection instead; `retry_later` adds Retry-After where that is switched on."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()
    drop: bool = False
    retry_later: bool = False
    trouble: Trouble | None = None


def error(status: int, code: str, message: str, *, retry_later: bool = False) -> Answer:
    """Build the documented error shape."""
    return Answer(status, orjson.dumps({"error": code, "message": message}), retry_later=retry_later)


def _html(status: int, title: str) -> Answer:
    page = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, page.encode(), _HTML)


DROP = Answer(0, b"", drop=True)
UNAUTHORIZED = error(401, "unauthorized", "Missing or invalid API key.")
THROTTLED = error(429, "rate_limit_exceeded", "Too many requests. Slow down.", retry_later=True)
UNKNOWN_JOB = error(404, "job_not_found", "No such job.")
UNKNOWN_FAULT = error(422, "validation_error", "Unknown fault or value.")
INVALID = error(422, "validation_error", "Provide exactly one of url and file.")
UNKNOWN_PATH = _html(404, "Not Found")
WRONG_METHOD = _html(405, "Method Not Allowed")

BEFORE_ACCEPTANCE: dict[Trouble, Answer] = {
    Trouble.KEY_REVOKED: UNAUTHORIZED,
    Trouble.DROP_BEFORE_ACCEPT: DROP,
    Trouble.CDN_REFUSED: Answer(403, b"error code: 1010", "text/plain"),
    Trouble.REDIRECT: Answer(302, b"", _HTML, headers=(("Location", "https://elsewhere.example/"),)),
    Trouble.ERROR_500: error(500, "internal_error", "Something went wrong."),
    Trouble.ERROR_502_HTML: _html(502, "Bad Gateway"),
    Trouble.ERROR_503: error(503, "unavailable", "Try again later.", retry_later=True),
    Trouble.ERROR_504_HTML: _html(504, "Gateway Time-out"),
    Trouble.THROTTLE: THROTTLED,
    Trouble.THROTTLE_BARE: replace(THROTTLED, retry_later=False),
    Trouble.CREDITS_EXHAUSTED: error(402, "insufficient_credits", "No credits left."),
}

AFTER_ACCEPTANCE: dict[Trouble, Answer] = {
    Trouble.DROP_AFTER_ACCEPT: DROP,
    Trouble.ERROR_504_AFTER_ACCEPT: _html(504, "Gateway Time-out"),
}
FATES = (Trouble.NEVER_ENDS, Trouble.FAILED_WITHOUT_ERROR)
BODIES = (
    Trouble.NOT_JSON,
    Trouble.WRONG_TYPES,
    Trouble.UNKNOWN_SHAPE,
    Trouble.GZIP,
    Trouble.SLOW_BODY,
    Trouble.CUT_BODY,
    Trouble.OVERSIZED_BODY,
)
