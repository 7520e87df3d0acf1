"""The webhook receiver over the loopback: what is not signed is nothing, what is acknowledged is durable."""

from __future__ import annotations

import asyncio
from typing import get_args

import aiohttp
import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.adapters.webhook_scene import EVENT, SECRET, Receiving, receiving
from worker.adapters.webhook_receiver import ANSWERS, PATH, SIGNATURE_HEADER, partition_of
from worker.domain.webhook import sign
from worker.flow.publication import NoSuchPartitionError, PublishFailedError
from worker.pipeline.facts import WebhookOutcome

MARKER = b"never-in-a-log"


async def test_a_signed_event_is_published_as_it_came_and_acknowledged() -> None:
    async with receiving() as scene:
        assert (await scene.send())[0] == 204
        assert scene.taken == [(3, EVENT)]
        assert scene.outcomes == ["published"]


async def test_another_client_is_answered_alike() -> None:
    async with receiving() as scene, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{scene.port}{PATH}"
        signed = {SIGNATURE_HEADER: sign(SECRET, EVENT)}
        assert (await client.post(f"{url}?partition=0", content=EVENT, headers=signed)).status_code == 204
        refused = await client.post(f"{url}?partition=0", content=EVENT)
        assert (refused.status_code, refused.text) == (401, "not signed by the API")
        assert scene.taken == [(0, EVENT)]


async def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    asked, durable = asyncio.Event(), asyncio.Event()

    async def publishing() -> None:
        asked.set()
        await durable.wait()

    async with receiving(publishing) as scene:
        sending = asyncio.create_task(scene.send())
        await asked.wait()
        assert not sending.done()
        assert scene.outcomes == []
        durable.set()
        assert (await sending)[0] == 204


@pytest.mark.parametrize("failure", [PublishFailedError("away"), TimeoutError()])
async def test_what_is_not_durable_is_asked_for_again(failure: Exception) -> None:
    async def publishing() -> None:
        raise failure

    async with receiving(publishing) as scene:
        status, headers = await scene.send()
        assert (status, headers["Retry-After"]) == (503, "5")
        assert (scene.taken, scene.outcomes) == ([], ["not_published"])


async def test_a_publication_that_hangs_is_given_up() -> None:
    async with receiving(asyncio.Event().wait, publish_seconds=0.05) as scene:  # type: ignore[arg-type] # None in the end
        assert (await scene.send())[0] == 503
        assert scene.outcomes == ["not_published"]


async def test_a_partition_that_the_topic_has_not_is_a_bad_request() -> None:
    async def publishing() -> None:
        raise NoSuchPartitionError(3)

    async with receiving(publishing) as scene:
        assert (await scene.send())[0] == 400
        assert scene.outcomes == ["bad_partition"]


@pytest.mark.parametrize("query", ["", "?partition=", "?partition=x", "?partition=-1", "?partition=2147483648"])
async def test_without_a_partition_nothing_is_published(query: str) -> None:
    async with receiving() as scene:
        assert (await scene.send(query=query))[0] == 400
        assert (await scene.send(query=query, signature="sha256=" + "0" * 64))[0] == 401
        assert (scene.taken, scene.outcomes) == ([], ["bad_partition", "refused"])


@given(st.lists(st.integers(-5, 1 << 33).map(str) | st.text(max_size=12), max_size=3))
@example(["2147483647"])
@example(["2147483648"])
@example(["٣"])
@example(["3\n"])
@example(["3", "3"])
def test_a_partition_is_one_plain_number_of_32_bits(given_texts: list[str]) -> None:
    text = given_texts[0] if len(given_texts) == 1 else ""
    sound = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 31
    assert partition_of(given_texts) == (int(text) if sound else None)


@settings(max_examples=60)
@given(
    body=st.binary(max_size=300) | st.just(EVENT),
    flip=st.integers(0, 3000),
    forged=st.sampled_from(["bit", "signature", "secret", "none", "genuine", "plain"]),
)
def test_only_what_is_signed_over_exactly_these_bytes_is_believed(body: bytes, flip: int, forged: str) -> None:
    """Anything else is answered alike: 401, with the same text, and nothing is published."""

    async def run() -> None:
        sent, right = body, sign(SECRET, body)
        signature: str | None = right
        match forged:
            case "bit":
                sent = flipped(body, flip)
            case "signature":
                signature = "sha256=" + flipped(bytes.fromhex(right[7:]), flip).hex()
            case "secret":
                signature = sign(b"another", body)
            case "none" | "plain":
                signature = None if forged == "none" else right[7:]
        async with receiving() as scene:
            status, headers = await scene.send(sent, signature=signature)
            genuine = forged == "genuine"
            assert status == (204 if genuine else 401)
            assert genuine or headers["Content-Length"] == str(len(ANSWERS["refused"][1]))
            assert scene.taken == ([(3, body)] if genuine and body == EVENT else [])

    asyncio.run(run())


def flipped(data: bytes, bit: int) -> bytes:
    """With one bit changed, or one byte more where there is none."""
    if not data:
        return b"\0"
    at = bit % (8 * len(data))
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


async def test_in_a_rotation_both_secrets_count_and_no_third() -> None:
    async with receiving(secret=(b"new", b"old")) as scene:
        statuses = [(await scene.send(signature=sign(each, EVENT)))[0] for each in (b"new", b"old", b"older")]
        assert statuses == [204, 204, 401]


async def test_without_a_secret_nothing_is_believed() -> None:
    for secret in (b"", ()):
        async with receiving(secret=secret) as scene:
            assert (await scene.send(signature=sign(b"", EVENT)))[0] == 401


async def test_a_replay_and_a_duplicate_are_taken_like_the_first() -> None:
    """No time is signed: whoever acts on events bears seeing them again, and they must not be refused."""
    async with receiving() as scene:
        assert [(await scene.send())[0] for _ in range(3)] == [204] * 3
        assert scene.taken == [(3, EVENT)] * 3


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (orjson.dumps({"event": "ping"}), "unknown_event"),
        (orjson.dumps({"event": "job.paused", "job_id": "job-1"}), "unknown_event"),
        (b"{}", "unknown_event"),
        (b"", "unreadable"),
        (b"[1]", "unreadable"),
        (orjson.dumps({"event": "job.complete"}), "unreadable"),
    ],
)
async def test_what_would_be_the_same_again_is_acknowledged_and_dropped(body: bytes, outcome: str) -> None:
    async with receiving() as scene:
        assert (await scene.send(body))[0] == 204
        assert (scene.taken, scene.outcomes) == ([], [outcome])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_nothing_but_post_is_known(method: str) -> None:
    async with receiving() as scene, aiohttp.ClientSession() as client:
        async with client.request(method, f"http://127.0.0.1:{scene.port}{PATH}") as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        async with client.request(method, f"http://127.0.0.1:{scene.port}/metrics") as reply:
            assert reply.status == 404


async def test_neither_bodies_nor_signatures_nor_what_strangers_send_is_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    async with receiving() as scene:
        await scene.send(MARKER)
        await scene.send(MARKER, signature=MARKER.decode())
        for raw in (MARKER + b" / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nX-HS-Signature: \x00" + MARKER + b"\r\n\r\n"):
            async with scene.connection() as (reader, writer):
                writer.write(raw)
                await reader.readline()
    assert MARKER.decode() not in caplog.text
    assert MARKER.decode() not in "".join(capfd.readouterr())
    assert [record for record in caplog.records if record.name.startswith(("aiohttp", "track-intake"))] == []


async def test_a_mistake_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Only malformed HTTP is silent."""

    async def publishing() -> None:
        raise ZeroDivisionError

    async with receiving(publishing) as scene:
        assert (await scene.send())[0] == 500
    assert [record.name for record in caplog.records] == ["track-intake.webhooks"]


def test_every_outcome_has_its_answer() -> None:
    assert {*ANSWERS, "cut_off"} == set(get_args(WebhookOutcome))


async def test_stopping_lets_open_requests_end_and_takes_no_more() -> None:
    asked, durable = asyncio.Event(), asyncio.Event()

    async def publishing() -> None:
        asked.set()
        await durable.wait()

    scene = Receiving(publishing)
    _, scene.port = await scene.receiver.start()
    sending = asyncio.create_task(scene.send())
    await asked.wait()
    stopping = asyncio.create_task(scene.receiver.stop())
    asyncio.get_running_loop().call_soon(durable.set)
    assert (await sending)[0] == 204
    await stopping
    await scene.receiver.stop()
    with pytest.raises(aiohttp.ClientError):
        await scene.send()


async def test_a_taken_port_is_an_error_at_the_start() -> None:
    async with receiving() as scene:
        second = Receiving()
        second.receiver._address = ("127.0.0.1", scene.port)
        with pytest.raises(OSError, match="address already in use"):
            await second.receiver.start()
        await second.receiver.stop()
