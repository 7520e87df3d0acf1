"""What a reply of the API means for all calls: quota, throttling, the operator's causes, outages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.flow.faults import FaultKind
from worker.flow.service import Change
from worker.pipeline.facts import AdmissionHeld, AdmissionResumed, OutageBegan, OutageEnded

if TYPE_CHECKING:
    from worker.flow.admission import Held
    from worker.flow.replies import Fault, Quota
    from worker.flow.service import Leave, Service
    from worker.pipeline.facts import Observe
    from worker.pipeline.gate import Gate

THROTTLE_SECONDS = 1.0  # pause of all requests after a 429 that names none


class Hearing:
    """The one place that is told of every reply."""

    def __init__(self, gate: Gate, service: Service, observe: Observe) -> None:
        self._gate = gate
        self._service = service
        self._observe = observe
        self._loop = asyncio.get_running_loop()

    def heed(self, fault: Fault | None, *, buys: bool, quota: Quota | None, leave: Leave, started: float) -> bool:
        """Follow one reply to a call that started then; True if its refusal was the first while others were taken."""
        now = self._loop.time()
        self._gate.observe(quota)
        if fault is not None and fault.kind is FaultKind.THROTTLED:
            self._gate.pause(fault.retry_after_seconds or THROTTLE_SECONDS)
        changed = self._service.heard(leave, fault, started, now, is_poll=not buys)
        return changed is not None and self._tell(*changed, now)

    def _tell(self, change: Change, held: Held, now: float) -> bool:
        match change:
            case Change.HELD:
                self._observe(AdmissionHeld(held.kind.value, held.detail))
                return True
            case Change.RESUMED:
                self._observe(AdmissionResumed(held.kind.value, now - held.since))
            case Change.OUTAGE_BEGAN:
                self._observe(OutageBegan(held.kind.value, held.detail))
            case Change.OUTAGE_ENDED:
                self._observe(OutageEnded(held.kind.value, now - held.since))
        return False
