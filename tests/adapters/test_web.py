"""The operator's server: alive while the loop turns, ready while tracks are decided, and why not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import aiohttp
import pytest

from tests.explanations import explanation, partition
from worker.adapters.web import READINESS, OperatorServer
from worker.flow.faults import FAULTS
from worker.pipeline.statuses import LaneStatus, QuotaStatus, WorkerStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.pipeline.explanation import Explanation

RUNNING = WorkerStatus("running", (), 0, 64, None, None, None, "closed", 0.1)
STATES = get_args(get_type_hints(WorkerStatus)["state"])
HOLDING = [kind.value for kind, row in FAULTS.items() if row.holds]


def explained(only: int | None) -> Explanation | None:
    """A worker with the partitions 5 and 3."""
    return explanation(*(partition(each) for each in (5, 3) if only in {None, each}))


@asynccontextmanager
async def serving(status: WorkerStatus) -> AsyncIterator[aiohttp.ClientSession]:
    server = OperatorServer(
        "127.0.0.1", 0, lambda: status, lambda accept: (b"m 1\n", f"text/plain; asked={accept}"), explain=explained
    )
    host, port = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield client
    finally:
        await server.stop()
        await server.stop()


async def get(status: WorkerStatus, path: str) -> tuple[int, Any]:
    async with serving(status) as client, client.get(path) as reply:
        return reply.status, await reply.json()


@pytest.mark.parametrize("state", STATES)
async def test_ready_means_running(state: Any) -> None:
    code, body = await get(replace(RUNNING, state=state), "/readyz")
    reasons = [] if state == "running" else [state]
    assert (code, body["ready"]) == ((503, False) if reasons else (200, True))
    assert [each["reason"] for each in body["reasons"]] == reasons


@pytest.mark.parametrize("held", HOLDING)
async def test_held_is_not_ready_and_says_why(held: str) -> None:
    code, body = await get(replace(RUNNING, held=held, held_detail="HTTP 401"), "/readyz")
    assert code == 503
    assert body["reasons"] == [{"reason": held, "meaning": READINESS[held], "detail": "HTTP 401"}]


async def test_every_reason_is_told() -> None:
    _, body = await get(replace(RUNNING, state="draining", held="key_refused"), "/readyz")
    assert [each["reason"] for each in body["reasons"]] == ["draining", "key_refused"]


@pytest.mark.parametrize(
    ("ready_in_seconds", "notes"), [(None, []), (0.0, []), (60.0, []), (599.6, [("quota_paused", "600 s left")])]
)
async def test_a_long_pause_that_the_api_asked_for_is_noted(
    ready_in_seconds: float | None, notes: list[tuple[str, str]]
) -> None:
    """The worker is ready all the same: it decides what it has, and no restart shortens the pause."""
    code, body = await get(replace(RUNNING, quota=QuotaStatus(ready_in_seconds=ready_in_seconds)), "/readyz")
    assert (code, [(each["note"], each["detail"]) for each in body["notes"]]) == (200, notes)


def test_every_reason_has_its_meaning() -> None:
    assert set(READINESS) == {*STATES, *HOLDING} - {"running"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (RUNNING, 200),
        (replace(RUNNING, fetch_age_seconds=60.0), 200),
        (replace(RUNNING, fetch_age_seconds=60.1), 503),
        (replace(RUNNING, fetch_age_seconds=None), 200),
        (replace(RUNNING, held="key_refused"), 200),
        (replace(RUNNING, state="starting", fetch_age_seconds=None), 200),
        (replace(RUNNING, state="draining", fetch_age_seconds=80.0), 200),
    ],
)
async def test_alive_unless_the_loop_has_stopped_turning(status: WorkerStatus, code: int) -> None:
    assert (await get(status, "/livez"))[0] == code


async def test_metrics_come_in_the_format_that_was_asked_for() -> None:
    async with serving(RUNNING) as client, client.get("/metrics", headers={"Accept": "x/y"}) as reply:
        assert (reply.status, await reply.read()) == (200, b"m 1\n")
        assert reply.headers["Content-Type"] == "text/plain; asked=x/y"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/status"])
async def test_head_is_answered_without_a_body(path: str) -> None:
    async with serving(RUNNING) as client, client.head(path) as reply:
        assert (reply.status, await reply.read()) == (200, b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_answered_with_those_that_exist(method: str) -> None:
    async with serving(RUNNING) as client, client.request(method, "/nothing/here") as reply:
        assert reply.status == 404
        assert (await reply.json())["paths"] == ["/livez", "/readyz", "/metrics", "/status"]


async def test_status_explains_all_partitions_or_one() -> None:
    for query, partitions in (("", [5, 3]), ("?partition=3", [3]), ("?partition=003", [3])):
        code, body = await get(RUNNING, f"/status{query}")
        assert (code, [each["partition"] for each in body["partitions"]]) == (200, partitions)


async def test_a_partition_of_somebody_else_is_answered_with_those_that_are_here() -> None:
    status = replace(RUNNING, lanes=(LaneStatus("t", 3), LaneStatus("t", 5)))
    code, body = await get(status, "/status?partition=4")
    assert (code, body["error"], body["partition"], body["owned"]) == (404, "not_owned", 4, [3, 5])


@pytest.mark.parametrize("asked", ["", "-1", "x", "1.0", "1" * 11, "%D9%A3"])
async def test_what_is_no_partition_is_refused(asked: str) -> None:
    code, body = await get(RUNNING, f"/status?partition={asked}")
    assert (code, body["error"]) == (400, "bad_partition")


async def test_status_before_there_is_a_worker() -> None:
    server = OperatorServer("127.0.0.1", 0, lambda: RUNNING, lambda _: (b"", ""), explain=lambda _: None)
    host, port = await server.start()
    async with aiohttp.ClientSession(f"http://{host}:{port}") as client, client.get("/status") as reply:
        assert (reply.status, (await reply.json())["error"]) == (503, "starting")
    await server.stop()


async def test_a_taken_port_is_an_error_at_the_start() -> None:
    first = OperatorServer("127.0.0.1", 0, lambda: RUNNING, lambda _: (b"", "text/plain"), explain=explained)
    host, port = await first.start()
    second = OperatorServer(host, port, lambda: RUNNING, lambda _: (b"", "text/plain"), explain=explained)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()
    await first.stop()
