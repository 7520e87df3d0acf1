"""Facts to log lines: JSON through orjson, or for people. One canonical line for each decided track.

Facts carry no secret and no address; the redaction here is a second lock, and the only one for what libraries log.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

import orjson
import structlog

from worker.pipeline import facts as f

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from structlog.typing import FilteringBoundLogger, WrappedLogger

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MASK = "[redacted]"
REPEAT_SECONDS = 10.0
SECRET_KEYS = frozenset(
    {"authorization", "api_key", "hs_api_key", "password", "secret", "token", "cookie"}
    | {"url", "audio_url", "location", "payload"}
)
# Ends at a quote that is not escaped: the text around it stays valid JSON.
_VALUE = rb'(?:[^"\\\s]|\\.)'
_BEARER = re.compile(rb"(?i)(bearer\s+)" + _VALUE + rb"+")
_QUERY = re.compile(rb'(://(?:[^"\\\s?]|\\.)*\?)' + _VALUE + rb"+")
_USER = re.compile(rb'://[^"\\\s/@]+@')

_NOT_SHOWN = frozenset({"traces", "job_trace"})  # spans of others than the fact itself
# Name and level of each fact's line. A commit, a job or a lane that went wrong is louder, see `_level`.
EVENTS: Mapping[type, tuple[str, str]] = {
    f.RecordsReceived: ("records_received", "debug"),
    f.CallFinished: ("call_finished", "debug"),
    f.QuotaWaited: ("quota_waited", "debug"),
    f.RetryScheduled: ("retry_scheduled", "debug"),
    f.BoughtAgain: ("analysis_bought_again", "warning"),
    f.JobGathered: ("job_gathered", "info"),
    f.JobAccepted: ("job_accepted", "info"),
    f.JobEnded: ("job_ended", "info"),
    f.JobResult: ("job_result", "debug"),
    f.ModeChanged: ("mode_changed", "info"),
    f.TrackDecided: ("track_decided", "info"),
    f.DeadLettered: ("record_dead_lettered", "warning"),
    f.PartitionStopped: ("partition_stopped", "error"),
    f.CommitFinished: ("commit_finished", "debug"),
    f.TracksCommitted: ("tracks_committed", "debug"),
    f.RebalanceFinished: ("rebalance_finished", "info"),
    f.LaneSealed: ("lane_sealed", "info"),
    f.AdmissionHeld: ("admission_held", "error"),
    f.AdmissionResumed: ("admission_resumed", "info"),
    f.OutageBegan: ("outage_began", "error"),
    f.OutageEnded: ("outage_ended", "info"),
    f.WebhookReceived: ("webhook_received", "debug"),
    f.Stopping: ("worker_stopping", "info"),
    f.Stopped: ("worker_stopped", "info"),
}


def build_logger(level: str, layout: str, stream: BinaryIO | None = None) -> FilteringBoundLogger:
    """Make a logger that writes lines of this layout (json, console) to the stream, by default standard output."""
    rendered = _json if layout == "json" else _console
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(stream or sys.stdout.buffer),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask_keys,
            rendered(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
    ).bind()
    return logger


def _json() -> Callable[[WrappedLogger, str, MutableMapping[str, Any]], bytes]:
    option = orjson.OPT_NON_STR_KEYS
    return lambda _logger, _name, event: scrub(orjson.dumps(event, default=_plain, option=option))


def _console() -> Callable[[WrappedLogger, str, MutableMapping[str, Any]], bytes]:
    # format_exc_info has made the trace already, without local variables; this says that the renderer need not.
    render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    return lambda logger, name, event: scrub(str(render(logger, name, event)).encode(errors="replace"))


def _plain(value: object) -> object:
    """For orjson: other mappings than dict as such, anything else by its type alone."""
    return dict(value) if isinstance(value, Mapping) else f"<{type(value).__name__}>"


def mask_keys(_logger: WrappedLogger, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of keys that name secrets or addresses, at any depth."""
    for key, value in event.items():
        if key in SECRET_KEYS:
            event[key] = MASK
        elif isinstance(value, (dict, list, tuple)):
            event[key] = _masked(value)
    return event


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {key: MASK if str(key).lower() in SECRET_KEYS else _masked(item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, (list, tuple)) else value


def scrub(line: bytes) -> bytes:
    """Cut bearer tokens, and users and queries of addresses, out of a finished line."""
    if b"://" in line:
        line = _USER.sub(b"://" + MASK.encode() + b"@", _QUERY.sub(rb"\1" + MASK.encode(), line))
    if b"bearer" in line.lower():
        line = _BEARER.sub(rb"\1" + MASK.encode(), line)
    return line


class FactLog:
    """Writes the line of each fact whose level is loud enough; the others cost a look-up."""

    def __init__(self, logger: FilteringBoundLogger, level: str) -> None:
        self._logger = logger
        self._threshold = LEVELS[level]
        self._shapes = {fact: _shape(fact) for fact in get_args(f.Fact)}

    def __call__(self, fact: f.Fact) -> None:
        """Write one fact."""
        name, level = EVENTS[type(fact)]
        level = _level(fact, level)
        if LEVELS[level] >= self._threshold:
            names, values = self._shapes[type(fact)]
            shown = dict(zip(names, values(fact), strict=True))
            if (span := shown.pop("trace", None)) is not None:
                shown["trace_id"] = span.trace_id
            getattr(self._logger, level)(name, **shown)


def _shape(fact: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(fact) if field.name not in _NOT_SHOWN)
    getter = attrgetter(*names)
    return names, getter if len(names) > 1 else lambda value: (getter(value),)


def _level(fact: f.Fact, usual: str) -> str:
    if isinstance(fact, f.CommitFinished) and fact.outcome != "committed":
        return "warning"
    if isinstance(fact, f.JobEnded) and fact.outcome != "complete":
        return "warning"
    return "warning" if isinstance(fact, (f.LaneSealed, f.Stopped)) and fact.dropped else usual


class LibraryMessages(logging.Handler):
    """What libraries log through the standard library, in our lines and with our redaction.

    A broker that is away makes aiokafka say the same some twenty times a second, and an asyncio future that nobody
    awaits comes with a page of stack. So a message of one place is written once in `REPEAT_SECONDS`; the next that is
    written says how many were not.
    """

    def __init__(self, logger: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger
        self._clock = clock
        self._places: dict[tuple[str, int], tuple[float, int]] = {}  # (file, line): when written, how many since

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message of a library, unless its place had its turn."""
        place, now = (record.pathname, record.lineno), self._clock()
        written_at, withheld = self._places.get(place, (float("-inf"), 0))
        if now - written_at < REPEAT_SECONDS:
            self._places[place] = written_at, withheld + 1
            return
        self._places[place] = now, 0
        more = {"withheld": withheld} if withheld else {}
        write = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        write("library_message", library=record.name, message=record.getMessage(), exc_info=record.exc_info, **more)

    def install(self) -> None:
        """Take the place of every handler of the root logger."""
        logging.basicConfig(handlers=[self], level=logging.WARNING, force=True)
