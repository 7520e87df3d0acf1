"""What the client's tests share: a client, a simulated API to point it at, a track to submit."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import Any, Literal

from worker.adapters.humanstandard import AiohttpTransport, HumanStandard
from worker.domain.submission import TrackSubmitted
from worker.flow.faults import FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Reply
from worker.sandbox.api import SimulatedApi, SimulationConfig, Trouble

KEY = "sandbox-key"
URL = "https://cdn.example/track-17.mp3?token=secret-of-the-label"
BOTH: list[Literal[1, 2]] = [1, 2]
# What the API or the network does, the fault that comes of it, and what its detail says: before a scan is taken, and
# where the answer to one is spoiled.
BEFORE = [
    (Trouble.KEY_REVOKED, FaultKind.KEY_REFUSED, "401 unauthorized"),
    (Trouble.DROP_BEFORE_ACCEPT, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
    (Trouble.CDN_REFUSED, FaultKind.CDN_REFUSED, "403 error code: 1010"),
    (Trouble.REDIRECT, FaultKind.MISCONFIGURED, "302"),
    (Trouble.ERROR_500, FaultKind.SERVER_ERROR, "500 internal_error"),
    (Trouble.ERROR_502_HTML, FaultKind.SERVER_ERROR, "502"),
    (Trouble.ERROR_503, FaultKind.UNAVAILABLE, "503 unavailable"),
    (Trouble.ERROR_504_HTML, FaultKind.SERVER_ERROR, "504"),
    (Trouble.THROTTLE, FaultKind.THROTTLED, "429 rate_limit_exceeded"),
]
BODIES = [
    (Trouble.NOT_JSON, FaultKind.NOT_JSON, "200 not JSON"),
    (Trouble.UNKNOWN_SHAPE, FaultKind.PROTOCOL_ERROR, "unknown shape: data, ok"),
    (Trouble.CUT_BODY, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
    (Trouble.OVERSIZED_BODY, FaultKind.PROTOCOL_ERROR, "200 body too long"),
]


def client(base: str, generation: Literal[1, 2] = 1, *, key: str = KEY, seconds: float = 5.0) -> HumanStandard:
    return HumanStandard(
        base_url=base,
        api_key=key,
        generation=generation,
        transport=AiohttpTransport(),
        timeout_seconds=seconds,
        user_agent="track-intake-tests/1",
        wall_clock=time.time,
    )


@asynccontextmanager
async def simulated(generation: Literal[1, 2] = 1, *, seconds: float = 5.0, **settings: Any) -> Any:
    settings = {"service_seconds": 0.0, "rate_limit_per_minute": 0} | settings
    api = SimulatedApi(SimulationConfig(**settings))
    await api.start()
    analyst = client(api.base_url(generation), generation, seconds=seconds)
    try:
        yield api, analyst
    finally:
        await analyst.close()
        await api.stop()


def track(name: str = "human") -> TrackSubmitted:
    return TrackSubmitted(item_id="17", url=f"{URL}&sandbox={name}")


def fault(reply: Reply) -> Fault:
    assert isinstance(reply.result, Fault), reply
    for secret in (KEY, "secret-of-the-label", "cdn.example", "http"):
        assert secret not in reply.result.detail
    return reply.result


async def outcome(analyst: HumanStandard, generation: int, name: str) -> Finished:
    reply = await analyst.submit(track(name))
    if generation == 2:
        assert isinstance(reply.result, Accepted)
        reply = await analyst.poll(reply.result.job_id)
    assert isinstance(reply.result, Finished), reply
    return reply.result
