"""The faults that can be switched on while the simulated API runs: each by rate or by count, from a seeded source."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Trouble(StrEnum):
    """Every fault. Those before the scan's acceptance come first, then those after it, then bodies."""

    KEY_REVOKED = "key_revoked"
    DROP_BEFORE_ACCEPT = "drop_before_accept"
    CDN_REFUSED = "cdn_refused"
    REDIRECT = "redirect"
    ERROR_500 = "error_500"
    ERROR_502_HTML = "error_502_html"
    ERROR_503 = "error_503"
    ERROR_504_HTML = "error_504_html"
    THROTTLE = "throttle"
    THROTTLE_BARE = "throttle_bare"
    CREDITS_EXHAUSTED = "credits_exhausted"
    NEVER_ENDS = "never_ends"
    FAILED_WITHOUT_ERROR = "failed_without_error"
    DROP_AFTER_ACCEPT = "drop_after_accept"
    ERROR_504_AFTER_ACCEPT = "error_504_after_accept"
    NOT_JSON = "not_json"
    WRONG_TYPES = "wrong_types"
    UNKNOWN_SHAPE = "unknown_shape"
    GZIP = "gzip"
    SLOW_BODY = "slow_body"
    CUT_BODY = "cut_body"
    OVERSIZED_BODY = "oversized_body"
    # Of jobs of many tracks: settled when a job is made, or drawn for each page and each delivery.
    JOB_REFUSED = "job_refused"
    JOB_FAILED = "job_failed"
    JOB_STUCK = "job_stuck"
    RESULTS_LATE = "results_late"
    BROKEN_LINE = "broken_line"
    WEBHOOK_LOST = "webhook_lost"
    WEBHOOK_DELAYED = "webhook_delayed"
    WEBHOOK_REORDERED = "webhook_reordered"
    WEBHOOK_DUPLICATED = "webhook_duplicated"
    WEBHOOK_FORGED = "webhook_forged"


OPERATIONS = frozenset({"analyze", "status", "jobs", "job", "results", "webhook"})
_USUAL = {Trouble.CREDITS_EXHAUSTED: frozenset({"analyze", "jobs"})}  # a poll costs nothing


@dataclass(slots=True)
class _Switch:
    rate: float
    left: int | None  # None: no end
    operations: frozenset[str]


class FaultSwitches:
    """Which faults are on. `strikes` draws only for what is on, so that a seed gives the same run again."""

    def __init__(self, *, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible faults, no secret
        self._switches: dict[Trouble, _Switch] = {}

    def __repr__(self) -> str:
        return f"<FaultSwitches {sorted(self._switches)}>"

    def set(self, trouble: Trouble, *, rate: float = 1.0, count: int | None = None, on: str = "any") -> None:
        """Switch a fault: a share of the calls of one operation (or `any`), at most `count` times."""
        if not 0 <= rate <= 1 or (count is not None and count < 0) or on not in OPERATIONS | {"any"}:
            raise ValueError(f"rate must be within 0..1, count at least 0, on: any or one of {sorted(OPERATIONS)}")
        operations = _USUAL.get(trouble, OPERATIONS) if on == "any" else frozenset({on})
        if rate == 0 or count == 0:
            self._switches.pop(trouble, None)
        else:
            self._switches[trouble] = _Switch(rate, count, operations)

    def clear(self) -> None:
        """Switch everything off."""
        self._switches.clear()

    def strike(self, operation: str, among: Iterable[Trouble]) -> Trouble | None:
        """Draw the first of these faults that hits this call; None where all goes well."""
        if not self._switches:
            return None
        return next((trouble for trouble in among if self._hits(trouble, operation)), None)

    def _hits(self, trouble: Trouble, operation: str) -> bool:
        switch = self._switches.get(trouble)
        if switch is None or operation not in switch.operations or self._random.random() >= switch.rate:
            return False
        if switch.left is not None:
            switch.left -= 1
            if switch.left == 0:
                del self._switches[trouble]
        return True


def switch_all(switches: FaultSwitches, wanted: Mapping[str, Any]) -> None:
    """Switch faults as a JSON object says: {name: rate} or {name: {rate, count, on}}. Raises ValueError."""
    for name, value in wanted.items():
        match value:
            case bool() | int() | float():
                switches.set(Trouble(name), rate=float(value))
            case dict() as options if options.keys() <= {"rate", "count", "on"}:
                _set_from(switches, Trouble(name), options)
            case _:
                raise ValueError(f"{name}: expected a rate, or an object of rate, count and on")


def _set_from(switches: FaultSwitches, trouble: Trouble, options: Mapping[str, Any]) -> None:
    rate, count, on = options.get("rate", 1.0), options.get("count"), options.get("on", "any")
    if not isinstance(rate, int | float) or not isinstance(count, int | None) or not isinstance(on, str):
        raise ValueError(f"{trouble}: rate is a number, count an integer, on a string")  # noqa: TRY004 - one kind of mistake
    switches.set(trouble, rate=float(rate), count=count, on=on)
