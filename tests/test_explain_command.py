"""The command `explain` over the real operator's server, on loopback; without one, what it says and does instead."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from tests.explanations import JOBS, PROCESS, explanation, partition, waiting
from worker.adapters.web import OperatorServer
from worker.explain_command import _ANSWER, explain
from worker.pipeline.statuses import LaneStatus, WorkerStatus
from worker.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.pipeline.explanation import Explanation

ROOT = Path(__file__).parents[1]
LANES = (LaneStatus("track-submitted", 3), LaneStatus("track-submitted", 5))
STATUS = WorkerStatus("running", LANES, 0, 64, None, None, None, "closed", 0.1)
KEY, PASSWORD = "sk-hidden-1", "hidden-2"


@asynccontextmanager
async def serving(*, started: bool = True) -> AsyncIterator[int]:
    """A worker with the partitions 3, in which something waits, and 5; yields its port."""

    def answer(only: int | None) -> Explanation | None:
        chosen = (partition(3, waiting()), partition(5))
        return explanation(*(each for each in chosen if only in {None, each.partition})) if started else None

    server = OperatorServer("127.0.0.1", 0, lambda: STATUS, lambda _: (b"", "text/plain"), explain=answer)
    _, port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


def settings(port: int, host: str = "127.0.0.1") -> Settings:
    environ = {"HS_API_KEY": KEY, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "HTTP_PORT": str(port), "HTTP_HOST": host}
    login = {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "us"}
    return load(environ | login | {"KAFKA_SASL_PASSWORD": PASSWORD}, env_file=None).settings


def unused() -> Settings:
    pytest.fail("settings were read")


async def said(*words: str, by: Settings | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of one run."""
    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(explain, words, unused if by is None else lambda: by, out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - as it stands in the settings
async def test_the_settings_say_where_the_worker_is(host: str) -> None:
    async with serving() as port:
        code, out, err = await said(by=settings(port, host))
    assert (code, err) == (0, "")
    assert "3          4812       12 min 4 s  retry" in out
    assert "Nothing waits in partition 5." in out


async def test_one_partition_is_told_in_detail_and_an_address_needs_no_settings() -> None:
    async with serving() as port:
        code, out, _ = await said("--partition", "3", "--url", f"http://127.0.0.1:{port}/")
    assert code == 0
    assert "track-submitted/3: offset 4812 holds the watermark" in out


async def test_json_is_what_the_worker_said() -> None:
    async with serving() as port:
        code, out, _ = await said("--json", "--partition", "3", "--url", f"http://127.0.0.1:{port}")
    assert (code, orjson.loads(out)) == (0, orjson.loads(orjson.dumps(explanation(partition(3, waiting())))))


async def test_a_partition_of_another_worker_is_told_with_those_that_are_here() -> None:
    async with serving() as port:
        code, out, err = await said("--partition", "4", "--url", f"http://127.0.0.1:{port}")
    assert (code, out) == (3, "")
    assert f"partition 4 is not of the worker at http://127.0.0.1:{port}: it has 3, 5" in err
    assert "--from-kafka" in err


async def test_a_worker_that_is_starting_and_one_that_is_not_there() -> None:
    async with serving(started=False) as port:
        code, _, err = await said("--url", f"http://127.0.0.1:{port}")
        assert (code, "answers 503" in err) == (3, True)
    code, _, err = await said("--url", f"http://127.0.0.1:{port}")
    assert code == 3
    assert f"FAIL  no worker answers at http://127.0.0.1:{port}: connection refused. Does it run, and here?" in err


@pytest.mark.parametrize("url", ["127.0.0.1:9", "http://", "ftp://127.0.0.1:9", "http://127.0.0.1:99999"])
async def test_an_address_that_is_none_is_no_traceback(url: str) -> None:
    code, out, err = await said("--url", url)
    assert (code, out) == (3, "")
    assert "FAIL  no worker answers at" in err


@pytest.mark.parametrize("body", [b"", b"[]", b'{"at": 1}', b"\xff", b"<html>"])
@pytest.mark.parametrize("code", [200, 404])
async def test_whatever_else_listens_there_is_told_as_such(code: int, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, body=body)

    app = web.Application()
    app.router.add_get("/status", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    exit_code, out, err = await said("--url", f"http://127.0.0.1:{runner.addresses[0][1]}", "--partition", "1")
    await runner.cleanup()
    assert (exit_code, out) == (3, "")
    assert "is no track-intake worker" in err


async def test_without_a_worker_kafka_is_asked_and_what_fails_there_is_said_too() -> None:
    code, out, err = await said(by=settings(9))
    assert (code, out) == (3, "")
    assert "no worker answers at http://127.0.0.1:9" in err
    assert "FAIL  Kafka: cannot connect to KAFKA_BOOTSTRAP_SERVERS" in err
    code, out, err = await said("--from-kafka", by=settings(9))
    assert (code, "no worker" in err) == (3, False)


async def test_any_port_cannot_be_guessed() -> None:
    code, _, err = await said(by=settings(0))
    assert (code, "HTTP_PORT is 0" in err) == (3, True)


async def test_no_secret_is_shown() -> None:
    async with serving() as port:
        for words in ((), ("--partition", "3"), ("--json",), ("--partition", "4"), ("--from-kafka",)):
            _, out, err = await said(*words, by=settings(port))
            assert out + err
            assert KEY not in out + err
            assert PASSWORD not in out + err


@pytest.mark.parametrize("words", [["--partition"], ["--partition", "-1"], ["--partition", "x"], ["3"]])
async def test_a_wrong_command_line_asks_nobody(words: list[str]) -> None:
    code, _, err = await said(*words)
    assert code == 2
    assert "usage: track-intake explain" in err


async def test_settings_that_cannot_be_used_end_it() -> None:
    assert explain([], lambda: None, io.StringIO(), io.StringIO()) == 2
    assert explain(["--from-kafka", "--url", "http://127.0.0.1:9"], lambda: None, io.StringIO(), io.StringIO()) == 2


def test_help_is_no_mistake() -> None:
    out = io.StringIO()
    assert explain(["--help"], unused, out, io.StringIO()) == 0
    assert "--from-kafka" in out.getvalue()


async def test_as_an_operator_starts_it(tmp_path: Path) -> None:
    """From the environment alone, in a process of its own; the API key is not needed."""
    async with serving() as port:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "worker", "explain", "--partition", "3"],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HTTP_PORT": str(port),
                "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "offset 4812 holds the watermark" in done.stdout


def test_what_an_older_worker_says_is_understood() -> None:
    """A rolling update: the command is newer than the worker that it asks, and that one knows of no jobs."""
    body = orjson.loads(orjson.dumps(explanation(partition(3, waiting()))))
    [shown] = body["partitions"]
    del shown["jobs"], shown["behind"]["in_jobs"], shown["behind"]["behind_key"]
    assert _ANSWER.validate_json(orjson.dumps(body)) == explanation(partition(3, waiting()))


def test_the_keys_of_the_json_are_a_contract() -> None:
    """Whoever reads them in a script relies on them: add, and say so here; never rename."""
    body = orjson.loads(orjson.dumps(explanation(partition(3, waiting()), process=PROCESS)))
    [shown] = body["partitions"]
    assert set(body) == {"at", "process", "partitions"}
    assert set(shown) == {
        *("topic", "partition", "watermark", "watermark_seconds", "watermark_at", "next_offset", "highest_completed"),
        *("done_above", "holder", "behind", "buffered_records", "buffered_bytes", "metadata_used", "paused"),
        *("commits", "records", "jobs"),
    }
    assert shown["jobs"] is None
    with_jobs = orjson.loads(orjson.dumps(replace(partition(3), jobs=JOBS)))["jobs"]
    assert set(with_jobs) == {
        *("mode", "estimate_seconds", "above_seconds", "open", "tracks", "oldest_seconds", "next_size"),
        *("next_seconds", "jobs"),
    }
    assert set(with_jobs["jobs"][0]) == {
        *("job_id", "first_offset", "last_offset", "tracks", "age_seconds", "waits_for", "call", "page"),
        *("due_seconds", "deadline_seconds", "detail"),
    }
    assert set(shown["holder"]) == {
        *("offset", "item_id", "state", "waits_for", "since_seconds", "due_seconds", "predecessor", "attempts"),
        *("last_error", "job_id", "deadline_seconds", "received_seconds", "written_at"),
    }
    assert set(shown["holder"]["last_error"]) == {"kind", "detail"}
    assert set(shown["behind"]) == {
        *("queued", "same_key", "in_flight", "retrying", "unpublished", "in_jobs", "behind_key"),
    }
    assert set(shown["commits"]) == {"watermark", "committed_seconds", "under_way_seconds", "failures", "error"}
    assert set(body["process"]) == {
        *("state", "held", "outage", "breaker", "clock_stands_seconds", "in_flight", "concurrency_limit"),
        *("concurrency_max", "unpublished", "unpublished_max", "quota", "consumer_loop_age_seconds"),
    }
    assert set(body["process"]["quota"]) >= {
        *("limit_per_minute", "share", "allowed_per_minute", "used_per_minute", "waiting_polls", "ready_in_seconds"),
        *("api_limit", "api_remaining", "api_reset_seconds", "retries_left"),
    }
    assert (shown["holder"]["waits_for"], shown["holder"]["state"]) == ("retry", "retrying")
