"""The tables that read answers: every status, every exception, and no value of JSON or bytes that raises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import httpx
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.adapters.humanstandard import HumanStandard
from worker.adapters.humanstandard.outcomes import Answer, Operation, failed, result_of
from worker.adapters.humanstandard.transport import translated
from worker.domain.analysis import AnalysisStatus
from worker.domain.submission import TrackSubmitted
from worker.flow.faults import FAULTS, FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Reply, Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY = "hs_live_key_17"
URL = "https://cdn.example/secret-track.mp3?token=t0ken"
NOW = 1_800_000_000.0


def read(operation: Operation, status: int, body: Any = None, *, raw: bytes = b"") -> Any:
    encoded = raw if body is None else orjson.dumps(body)
    return result_of(operation, Answer(status, httpx.Headers(), encoded), job_id="job-17")


SUBMIT = [
    (301, {}, FaultKind.MISCONFIGURED),
    (307, {}, FaultKind.MISCONFIGURED),
    (400, {"error": "bad_url"}, FaultKind.INVALID_REQUEST),
    (401, {}, FaultKind.KEY_REFUSED),
    (402, {}, FaultKind.CREDITS_EXHAUSTED),
    (403, {"error": "forbidden"}, FaultKind.KEY_REFUSED),
    (403, {"error": "insufficient_credits"}, FaultKind.CREDITS_EXHAUSTED),
    (404, {"error": "file_not_found"}, FaultKind.INVALID_REQUEST),
    (404, {"detail": "Not Found"}, FaultKind.MISCONFIGURED),
    (405, {}, FaultKind.MISCONFIGURED),
    (408, {}, FaultKind.UNAVAILABLE),
    (409, {}, FaultKind.INVALID_REQUEST),
    (413, {}, FaultKind.INVALID_REQUEST),
    (415, {}, FaultKind.INVALID_REQUEST),
    (422, {"detail": [{"msg": "x"}]}, FaultKind.INVALID_REQUEST),
    (429, {"error": "rate_limit_exceeded"}, FaultKind.THROTTLED),
    (429, {"error": "credits_exhausted"}, FaultKind.CREDITS_EXHAUSTED),
    (429, {"error": {"code": "out_of_credit"}}, FaultKind.CREDITS_EXHAUSTED),
    (500, {}, FaultKind.SERVER_ERROR),
    (502, {}, FaultKind.SERVER_ERROR),
    (503, {}, FaultKind.UNAVAILABLE),
    (504, {}, FaultKind.SERVER_ERROR),
    (521, {}, FaultKind.UNAVAILABLE),
    (524, {}, FaultKind.SERVER_ERROR),
]


@pytest.mark.parametrize(("status", "body", "kind"), SUBMIT)
def test_each_status_of_a_submission_is_its_row(status: int, body: Any, kind: FaultKind) -> None:
    assert read("submit", status, body).kind is kind


@pytest.mark.parametrize(("status", "body", "kind"), [row for row in SUBMIT if row[0] != 404])
def test_a_poll_differs_from_a_submission_in_404_alone(status: int, body: Any, kind: FaultKind) -> None:
    assert read("poll", status, body).kind is kind


def test_a_missing_job_is_only_believed_of_the_api_itself() -> None:
    assert read("poll", 404, {"detail": "Not Found"}).kind is FaultKind.JOB_UNKNOWN
    assert read("poll", 404, raw=b"<html>").kind is FaultKind.MISCONFIGURED
    assert read("submit", 404, raw=b"<html>").kind is FaultKind.MISCONFIGURED


def test_the_cdns_refusal_is_told_from_the_keys() -> None:
    assert read("submit", 403, raw=b"error code: 1010") == Fault(FaultKind.CDN_REFUSED, "403 error code: 1010")
    assert read("submit", 403, raw=b"<html>error code: 1010").kind is FaultKind.KEY_REFUSED
    assert read("submit", 500, raw=b"error code: 1010").kind is FaultKind.SERVER_ERROR


@given(status=st.integers(300, 999), body=st.binary(max_size=40))
def test_every_status_has_a_row_for_both_operations(status: int, body: bytes) -> None:
    for operation in ("submit", "poll"):
        assert read(operation, status, raw=body).kind in FAULTS


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"job_id": "j"}, Accepted("j")),
        ({"job_id": "j", "status": "queued", "verdict": None, "result": None}, Accepted("j")),
        ({"job_id": "j", "status": "complete"}, Accepted("j")),
        ({"job_id": "j" * 256}, Accepted("j" * 256)),
    ],
)
def test_a_job_id_is_polled_until_something_is_final(body: Any, expected: Accepted) -> None:
    assert read("submit", 200, body) == expected


@pytest.mark.parametrize("job_id", ["", ".", "..", "j" * 257, 17, True, [], {}])
def test_a_job_id_that_fits_no_path_is_a_protocol_error(job_id: Any) -> None:
    assert read("submit", 200, {"job_id": job_id}).kind is FaultKind.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "body",
    [
        {"verdict": "human"},
        {"job_id": "j", "verdict": "human"},
        {"job_id": "j", "result": {"verdict": "ai"}},
        {"status": "failed", "verdict": None, "error": "audio_load_failed"},
        {"status": "failed"},
        {"job_id": "j", "status": "failed"},
    ],
)
def test_a_result_is_final_whichever_call_brought_it(body: Any) -> None:
    assert isinstance(read("submit", 200, body), Finished)


def test_a_poll_ends_only_with_the_words_that_end_a_job() -> None:
    assert read("poll", 200, {"status": "processing", "result": None}) == Running()
    assert read("poll", 200, {"status": "http://x"}) == Running()
    finished = read("poll", 200, {"status": "failed"})
    assert (finished.analysis.status, finished.analysis.job_id) == (AnalysisStatus.FAILED, "job-17")
    assert read("poll", 200, {"status": "complete"}).kind is FaultKind.PROTOCOL_ERROR
    assert read("poll", 200, {"status": 17}).kind is FaultKind.PROTOCOL_ERROR


def test_a_success_that_cannot_be_read_says_which_way() -> None:
    assert read("submit", 200, raw=b"").kind is FaultKind.NOT_JSON
    assert read("submit", 204, raw=b"").kind is FaultKind.NOT_JSON
    assert read("submit", 200, [1]).kind is FaultKind.PROTOCOL_ERROR
    assert read("submit", 200, {"b": 1, "a": 2, URL: 3}).detail == "unknown shape: b, a"
    assert result_of("submit", Answer(200, httpx.Headers(), None)).kind is FaultKind.PROTOCOL_ERROR  # type: ignore[union-attr]


NOTHING_SENT = [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError]
PERHAPS_SENT = [
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
    httpx.CloseError,
]


@pytest.mark.parametrize("kind", NOTHING_SENT)
def test_what_failed_before_the_request_left_is_connect_failed(kind: type[httpx.TransportError]) -> None:
    assert failed(kind(URL)) == Fault(FaultKind.CONNECT_FAILED, kind.__name__)


@pytest.mark.parametrize("kind", PERHAPS_SENT)
def test_what_failed_later_leaves_the_outcome_unknown(kind: type[httpx.TransportError]) -> None:
    assert failed(kind(URL)) == Fault(FaultKind.OUTCOME_UNKNOWN, kind.__name__)


PLACE: Any = None  # aiohttp's connection key: only its message would use it
AIOHTTP: list[tuple[Exception, type[httpx.TransportError]]] = [
    (aiohttp.ClientConnectorError(PLACE, OSError(111, "refused")), httpx.ConnectError),
    (aiohttp.ClientConnectorDNSError(PLACE, OSError(1, "no name")), httpx.ConnectError),
    (aiohttp.ClientConnectorSSLError(PLACE, OSError(1, "tls")), httpx.ConnectError),
    (aiohttp.ClientConnectorCertificateError(PLACE, OSError(1, "certificate")), httpx.ConnectError),
    (aiohttp.ClientProxyConnectionError(PLACE, OSError(1, "proxy")), httpx.ProxyError),
    (aiohttp.ConnectionTimeoutError(URL), httpx.ConnectTimeout),
    (aiohttp.ServerDisconnectedError(URL), httpx.ReadError),
    (aiohttp.ClientOSError(104, URL), httpx.ReadError),
    (aiohttp.ClientConnectionResetError(URL), httpx.ReadError),
    (aiohttp.ClientConnectionError(URL), httpx.ReadError),
    (aiohttp.SocketTimeoutError(URL), httpx.ReadTimeout),
    (TimeoutError(), httpx.ReadTimeout),
    (aiohttp.ClientPayloadError(URL), httpx.ReadError),
    (aiohttp.ClientResponseError(PLACE, (), status=400), httpx.RemoteProtocolError),
    (ConnectionResetError(URL), httpx.ReadError),
]


@pytest.mark.parametrize(("foreign", "ours"), AIOHTTP, ids=lambda value: getattr(value, "__name__", str(type(value))))
def test_aiohttps_exceptions_say_when_they_happened(foreign: Exception, ours: type[httpx.TransportError]) -> None:
    found = translated(foreign)
    assert type(found) is ours
    assert str(found) == type(foreign).__name__, "the message must not carry an address"


SECRETS = st.sampled_from([KEY, URL, f"token={KEY}", f"Bearer {KEY}", "http://x/y"])
NAMES = ["job_id", "status", "verdict", "result", "error", "code", "tier_verdicts", "message", "detail"]
KEYS = st.sampled_from(NAMES) | SECRETS | st.text(max_size=5)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=9) | SECRETS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)
BODIES = JSON.map(orjson.dumps) | st.binary(max_size=30)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 402, 403, 404, 422, 429, 500, 503])


def answering(answer: Callable[[httpx.Request], httpx.Response], generation: Literal[1, 2] = 1) -> HumanStandard:
    return HumanStandard(
        base_url="https://api.example/api",
        api_key=KEY,
        generation=generation,
        transport=httpx.MockTransport(answer),
        timeout_seconds=5,
        user_agent="track-intake-tests/1",
        wall_clock=lambda: NOW,
    )


def call(generation: Literal[1, 2], status: int, body: bytes) -> list[Reply]:
    analyst = answering(lambda _: httpx.Response(status, content=body), generation)

    async def both() -> list[Reply]:
        return [await analyst.submit(TrackSubmitted("17", url=URL)), await analyst.poll("job-17")]

    return asyncio.run(both())


@given(generation=st.sampled_from([1, 2]), status=STATUSES, body=BODIES)
def test_whatever_the_api_answers_is_a_value_without_secrets(
    generation: Literal[1, 2], status: int, body: bytes
) -> None:
    for reply in call(generation, status, body):
        shown = reply.result.detail if isinstance(reply.result, Fault) else ""
        assert len(shown) <= 600
        for secret in (KEY, "t0ken", "cdn.example", "://"):
            assert secret not in shown


@given(address=st.text(st.characters(exclude_categories=()), max_size=20))
@example(address="\ud800")
def test_no_address_makes_a_submission_raise(address: str) -> None:
    analyst = answering(lambda _: httpx.Response(200, content=b"{}"))
    reply = asyncio.run(analyst.submit(TrackSubmitted("17", url=address)))
    assert isinstance(reply.result, Fault)


@pytest.mark.parametrize(
    "body", [{"error": URL}, {"error": {"code": URL}}, {"code": "Not A Code"}, {"error": "x" * 65}]
)
def test_only_what_looks_like_a_code_is_shown(body: Any) -> None:
    assert read("submit", 400, body).detail == "400"


async def test_a_key_that_comes_back_as_a_code_is_not_shown() -> None:
    analyst = answering(lambda _: httpx.Response(401, json={"error": KEY}))
    assert (await analyst.submit(TrackSubmitted("17", url=URL))).result == Fault(FaultKind.KEY_REFUSED, "401 [key]")


class Endless(httpx.AsyncByteStream):
    """A body without an end, as another transport would stream it."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.closed:
            yield bytes(1_000_000)

    async def aclose(self) -> None:
        self.closed = True


async def test_an_endless_body_is_given_up_and_closed() -> None:
    stream = Endless()
    analyst = answering(lambda _: httpx.Response(200, stream=stream))
    reply = await analyst.submit(TrackSubmitted("17", url=URL))
    assert reply.result == Fault(FaultKind.PROTOCOL_ERROR, "200 body too long")
    assert stream.closed


@pytest.mark.parametrize(
    ("generation", "path"), [(1, "/api/jobs/track-intake-check"), (2, "/api/jobs/track-intake-check/status")]
)
async def test_the_probe_asks_what_each_generation_documents(generation: Literal[1, 2], path: str) -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path))
        return httpx.Response(404, json={"error": "job_not_found"})

    assert await answering(answer, generation).probe() is None
    assert seen == [("GET", path)]
