"""The one place that reads an answer of the API, or its absence, as a reply: a result, or a row of `flow.faults`.

- After a submission an object that holds a result is final and one with a `job_id` is to be polled, whichever
  generation is configured. Anything else is a protocol error that names the keys it found.
- A failure from before the request could leave is CONNECT_FAILED; every later one leaves the outcome unknown.
- A 404 is about the job or the track only where the API itself says so, in JSON; a web page says that the base
  address is wrong. 403 as plain text with `error code: 1…` is the CDN's, not the key's.
- A `detail` is a status and a code, bounded, of a plain alphabet: no text of a body, no address, no header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx
import orjson

from worker.domain.jobs import JobState, is_job_id, state_of
from worker.domain.normalise import UnknownShape, analysis_of
from worker.flow.faults import FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Running

if TYPE_CHECKING:
    from worker.domain.analysis import Analysis

Operation = Literal["submit", "poll"]
Result = Finished | Accepted | Running | Fault

_MAX_KEYS: Final = 12
_JOB_ENDS: Final = frozenset({"complete", "failed", "success"})
_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")
_KEY_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_CDN_CODE: Final = re.compile(rb"error code: (1\d{3})")
_CREDIT_WORDS: Final = ("credit", "billing", "payment", "balance", "funds")
_CREDIT_STATUSES: Final = frozenset({402, 403, 429})
MAX_ERROR_BYTES: Final = 64 * 1024  # an error longer than this has no code worth finding

# What is not listed goes by its class: 3xx misconfigured, 4xx invalid request, 5xx server error.
_STATUSES: Final[dict[int, FaultKind]] = {
    401: FaultKind.KEY_REFUSED,
    402: FaultKind.CREDITS_EXHAUSTED,
    403: FaultKind.KEY_REFUSED,
    405: FaultKind.MISCONFIGURED,
    407: FaultKind.MISCONFIGURED,  # the proxy's, not the API's
    408: FaultKind.UNAVAILABLE,  # the server gave up waiting for the request: it has not got it
    425: FaultKind.UNAVAILABLE,  # refused before it was looked at
    429: FaultKind.THROTTLED,
    503: FaultKind.UNAVAILABLE,
    521: FaultKind.UNAVAILABLE,  # the CDN's words for an origin that refuses connections
    523: FaultKind.UNAVAILABLE,  # the same for one that cannot be reached
}
_NOTHING_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response read to its end. `body` None: longer than the limit."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes | None = field(repr=False)


def failed(error: httpx.RequestError) -> Fault:
    """Read an exception of the transport."""
    if isinstance(error, _NOTHING_SENT):
        return Fault(FaultKind.CONNECT_FAILED, type(error).__name__)
    if isinstance(error, httpx.DecodingError):
        return Fault(FaultKind.NOT_JSON, type(error).__name__)
    return Fault(FaultKind.OUTCOME_UNKNOWN, type(error).__name__)


def expired(seconds: float) -> Fault:
    """Read the end of the call's own deadline, which is longer than any connection is waited for."""
    return Fault(FaultKind.OUTCOME_UNKNOWN, f"no answer within {seconds:g} s")


def result_of(operation: Operation, answer: Answer, *, job_id: str | None = None) -> Result:
    """Read an answer to a submission or, with its `job_id`, to a poll."""
    body = _object(operation, answer)
    if isinstance(body, Fault):
        return body
    return _submitted(body) if operation == "submit" else _polled(body, job_id)


def job_of(answer: Answer, *, job_id: str | None) -> JobState | Fault:
    """Read an answer to the creation of a job of many tracks or, with its `job_id`, to the question for it."""
    if job_id is None and answer.status == HTTPStatus.CONFLICT:
        # Not the items' fault: another request with this key is being worked on. Splitting would buy them twice.
        return Fault(FaultKind.UNAVAILABLE, str(answer.status))
    body = _object("submit" if job_id is None else "poll", answer)
    if isinstance(body, Fault):
        return body
    state = state_of(body, job_id=job_id)
    return _unknown(state) if isinstance(state, UnknownShape) else state


def _object(operation: Operation, answer: Answer) -> dict[str, Any] | Fault:
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return refused(operation, answer)
    if answer.body is None:
        return Fault(FaultKind.PROTOCOL_ERROR, f"{answer.status} body too long")
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return Fault(FaultKind.NOT_JSON, f"{answer.status} not JSON")
    if not isinstance(body, dict):
        return Fault(FaultKind.PROTOCOL_ERROR, f"{answer.status} JSON, but no object")
    return body


def _submitted(body: dict[str, Any]) -> Result:
    job_id = body.get("job_id")
    if job_id is None:
        return _finished(analysis_of(body))
    if not is_job_id(job_id):
        return Fault(FaultKind.PROTOCOL_ERROR, "job_id is no usable string")
    ended = body.get("status") in _words(body) or body.get("result") or body.get("verdict")
    analysis = analysis_of(body, job_id=job_id) if ended else None
    return Accepted(job_id) if analysis is None or isinstance(analysis, UnknownShape) else Finished(analysis)


def _polled(body: dict[str, Any], job_id: str | None) -> Result:
    status = body.get("status")
    if isinstance(status, str) and status not in _JOB_ENDS:
        return Running()
    return _finished(analysis_of(body, job_id=job_id))


def _words(body: dict[str, Any]) -> frozenset[str]:
    """Words that end a job; none where the status is no string (and perhaps not hashable)."""
    return _JOB_ENDS if isinstance(body.get("status"), str) else frozenset()


def _finished(analysis: Analysis | UnknownShape) -> Finished | Fault:
    return _unknown(analysis) if isinstance(analysis, UnknownShape) else Finished(analysis)


def _unknown(shape: UnknownShape) -> Fault:
    names = [key for key in shape.keys if _KEY_NAME.fullmatch(key)][:_MAX_KEYS]
    return Fault(FaultKind.PROTOCOL_ERROR, f"unknown shape: {', '.join(names) or 'no plain keys'}")


def refused(operation: Operation, answer: Answer) -> Fault:
    """Read an answer that is no success."""
    body = (answer.body or b"")[:MAX_ERROR_BYTES]
    cdn = _CDN_CODE.match(body) if answer.status == HTTPStatus.FORBIDDEN else None
    if cdn is not None:
        return Fault(FaultKind.CDN_REFUSED, f"403 error code: {cdn[1].decode()}")
    said = _said(body)
    code = _code(said)
    detail = f"{answer.status} {code}" if code else str(answer.status)
    return Fault(_kind(operation, answer.status, said, code), detail)


def _kind(operation: Operation, status: int, said: dict[str, Any] | None, code: str | None) -> FaultKind:
    if status in _CREDIT_STATUSES and code is not None and any(word in code for word in _CREDIT_WORDS):
        return FaultKind.CREDITS_EXHAUSTED
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return _missing(operation, said, code)
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return FaultKind.SERVER_ERROR
    return FaultKind.INVALID_REQUEST if status >= HTTPStatus.BAD_REQUEST else FaultKind.MISCONFIGURED


def _missing(operation: Operation, said: dict[str, Any] | None, code: str | None) -> FaultKind:
    if operation == "poll":
        return FaultKind.MISCONFIGURED if said is None else FaultKind.JOB_UNKNOWN
    return FaultKind.MISCONFIGURED if code is None else FaultKind.INVALID_REQUEST


def _said(body: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


def _code(said: dict[str, Any] | None) -> str | None:
    if said is None:
        return None
    inner = said.get("error")
    for value in (inner, inner.get("code") if isinstance(inner, dict) else None, said.get("code")):
        if isinstance(value, str) and _CODE.fullmatch(value):
            return value
    return None
