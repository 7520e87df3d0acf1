"""The client where the network fails: what was surely not sent, and what perhaps was."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.adapters.humanstandard_scene import client, fault, simulated, track
from worker.flow.faults import FaultKind
from worker.flow.replies import Finished
from worker.sandbox.api import Trouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def closed_port() -> AsyncIterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("trouble", [Trouble.NEVER_ENDS, Trouble.SLOW_BODY])
async def test_a_deadline_after_the_request_was_sent_leaves_the_outcome_unknown(trouble: Trouble) -> None:
    async with simulated(1, seconds=0.2) as (api, analyst):
        api.faults.set(trouble)
        found = fault(await analyst.submit(track()))
        assert (found.kind, found.detail) == (FaultKind.OUTCOME_UNKNOWN, "no answer within 0.2 s")
        assert api.ledger.credits == 1


async def test_a_refused_connection_sent_nothing() -> None:
    async with closed_port() as port:
        analyst = client(f"http://127.0.0.1:{port}/api")
        assert fault(await analyst.submit(track())).kind is FaultKind.CONNECT_FAILED
        await analyst.close()


async def test_a_connection_that_is_never_accepted_sent_nothing() -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)  # noqa: FBT003 - the standard library's signature
            waiting.connect_ex(deaf.getsockname())
        analyst = client(f"http://127.0.0.1:{deaf.getsockname()[1]}/api", seconds=0.4)
        found = fault(await analyst.submit(track()))
        assert (found.kind, found.detail) == (FaultKind.CONNECT_FAILED, "ConnectTimeout")
        await analyst.close()


async def test_a_failed_tls_handshake_sent_nothing() -> None:
    async with simulated() as (api, _):
        analyst = client(api.base_url(1).replace("http:", "https:"))
        found = fault(await analyst.submit(track()))
        assert (found.kind, found.detail) == (FaultKind.CONNECT_FAILED, "ConnectError")
        assert api.ledger.requests.total() == 0
        await analyst.close()


async def test_a_proxy_that_refuses_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with simulated() as (api, _), closed_port() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        analyst = client(api.base_url(1))
        assert fault(await analyst.submit(track())).kind is FaultKind.CONNECT_FAILED
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        direct = client(api.base_url(1))
        assert isinstance((await direct.submit(track())).result, Finished)
        await analyst.close()
        await direct.close()


async def test_a_base_address_that_points_elsewhere_is_the_operators_and_keeps_the_job() -> None:
    async with simulated() as (api, _):
        analyst = client(api.base_url(1) + "/nowhere")
        assert fault(await analyst.submit(track())).kind is FaultKind.MISCONFIGURED
        assert fault(await analyst.poll("job-17")).kind is FaultKind.MISCONFIGURED
        await analyst.close()


async def test_a_proxy_of_another_kind_is_not_gone_around(monkeypatch: pytest.MonkeyPatch) -> None:
    async with simulated() as (api, analyst):
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        found = fault(await analyst.submit(track()))
        assert (found.kind, found.detail) == (FaultKind.CONNECT_FAILED, "ProxyError")
        assert api.ledger.requests.total() == 0
