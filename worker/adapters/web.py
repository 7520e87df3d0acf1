"""/livez, /readyz and /metrics for the orchestrator and the scraper, /status for people, on one small server.

/livez asks "would a restart help?": it fails only when the consumer loop has stopped turning. /readyz asks "does
this worker decide tracks?": it fails before the start, during the drain, and while the operator has to act. A
worker that is not ready keeps its partitions: nothing is routed to it by readiness. /status says what waits for what,
in all partitions or in one (?partition=N); `track-intake explain` shows it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.pipeline.explanation import Explanation
    from worker.pipeline.statuses import WorkerStatus

PARTITION = re.compile("[0-9]{1,10}")  # Kafka's are 32 bits
LONG_SECONDS = 60.0  # the quota's window: more than that was asked for
PATHS = ("/livez", "/readyz", "/metrics", "/status")
READINESS: Mapping[str, str] = {
    "starting": "The worker joins the group. If it lasts: are the brokers reachable? See the log.",
    "draining": "The worker was told to stop and lets running calls finish, DRAIN_SECONDS at most.",
    "stopped": "The worker has ended its work and is about to exit.",
    "key_refused": "The API refuses HS_API_KEY (401, 403). Set a valid key and restart; nothing is lost.",
    "credits_exhausted": "The account has no credits left. Buy some; the worker goes on by itself.",
    "cdn_refused": "The CDN before the API refuses this client. Look at the egress address and proxies.",
    "misconfigured": "HS_BASE_URL or HS_API_GENERATION does not fit the API. Correct it and restart.",
}


class OperatorServer:
    """Serves the status that it is handed; `exposition` turns an Accept header into body and content type.

    `explain` is asked for all partitions (None) or for one, and answers None while there is no worker yet.
    """

    def __init__(
        self,
        host: str,
        port: int,
        status: Callable[[], WorkerStatus],
        exposition: Callable[[str], tuple[bytes, str]],
        *,
        explain: Callable[[int | None], Explanation | None],
        stuck_after_seconds: float = 60.0,
    ) -> None:
        self._address = (host, port)
        self._status = status
        self._exposition = exposition
        self._explain = explain
        self._stuck_after_seconds = stuck_after_seconds
        self._runner: web.AppRunner | None = None

    async def start(self) -> tuple[str, int]:
        """Listen; returns the bound host and port. Raises OSError where the address is taken."""
        app = web.Application()
        for path, answer in zip(PATHS, (self._livez, self._readyz, self._metrics, self._why), strict=True):
            app.router.add_get(path, answer)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()
        host, port = self._runner.addresses[0][:2]
        return str(host), int(port)

    async def stop(self) -> None:
        """Stop listening. Does nothing before start and after stop."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        status = self._status()
        age = status.fetch_age_seconds
        stuck = status.state == "running" and age is not None and age > self._stuck_after_seconds
        return _json(503 if stuck else 200, {"alive": not stuck, "consumer_loop_age_seconds": age})

    async def _readyz(self, _request: web.Request) -> web.Response:
        status = self._status()
        reasons = unready(status)
        body = {"ready": not reasons, "reasons": reasons, "notes": notes(status)}
        return _json(503 if reasons else 200, body)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _why(self, request: web.Request) -> web.Response:
        asked = request.query.get("partition")
        if asked is not None and not PARTITION.fullmatch(asked):
            return _json(400, {"error": "bad_partition", "meaning": "partition is a number, 0 or more"})
        only = None if asked is None else int(asked)
        explanation = self._explain(only)
        if explanation is None:
            return _json(503, {"error": "starting", "meaning": READINESS["starting"]})
        if only is not None and not explanation.partitions:
            return _json(404, _not_owned(only, self._status()))
        return web.Response(body=orjson.dumps(explanation), content_type="application/json")

    async def _unknown(self, _request: web.Request) -> web.Response:
        return _json(404, {"error": "not_found", "paths": PATHS})


def unready(status: WorkerStatus) -> list[dict[str, str]]:
    """Why the worker decides no tracks: reason, what it means, and the cause as far as it is known."""
    reasons = [] if status.state == "running" else [_reason(status.state)]
    if status.held is not None:
        reasons.append(_reason(status.held) | {"detail": status.held_detail or ""})
    return reasons


def notes(status: WorkerStatus) -> list[dict[str, str]]:
    """What slows a worker that is ready: it keeps its partitions, and a restart by the orchestrator would not help."""
    found = []
    if status.outage is not None:
        text = "The API as a whole is out. Tracks wait for it and lose neither place nor time."
        found.append({"note": "outage", "meaning": text, "detail": status.outage, "breaker": status.breaker})
    wait = status.quota.ready_in_seconds or 0.0
    if wait > LONG_SECONDS:
        text = "The API asked for a pause (Retry-After): no request leaves before it is over, then one asks again."
        found.append({"note": "quota_paused", "meaning": text, "detail": f"{wait:.0f} s left"})
    stopped = ", ".join(str(lane.partition) for lane in status.lanes if lane.stopped)
    if stopped:
        text = "Too many dead letters: the topic's format or our schema is wrong. Mend that, then restart."
        found.append({"note": "partitions_stopped", "meaning": text, "detail": stopped})
    failing = [f"{lane.partition}: {lane.publish_error}" for lane in status.lanes if lane.publish_error]
    if failing:
        text = "Kafka takes no decisions of these partitions. Nothing more of them starts, the same are tried again."
        found.append({"note": "partitions_not_published", "meaning": text, "detail": ", ".join(failing)})
    return found


def _not_owned(partition: int, status: WorkerStatus) -> dict[str, Any]:
    owned = [lane.partition for lane in status.lanes]
    text = "This worker does not have the partition; another one may, or none."
    return {"error": "not_owned", "meaning": text, "partition": partition, "owned": owned}


def _reason(name: str) -> dict[str, str]:
    return {"reason": name, "meaning": READINESS.get(name, "See the log.")}


def _json(code: int, body: Mapping[str, Any]) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(body), content_type="application/json")
