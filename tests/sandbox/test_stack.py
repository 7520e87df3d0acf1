"""`track-intake sandbox`: what it tells other teams' tests is true, and it ends when it is told to."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.children import started
from worker.sandbox.broker import PARTITIONS, EmbeddedBroker
from worker.sandbox.stack import as_text, run
from worker.sandbox.surroundings import Sandbox, environment
from worker.settings import load

COMMAND = [sys.executable, "-m", "worker", "sandbox"]
ROOT = Path(__file__).parents[2]


def sandbox(**changes: Any) -> Sandbox:
    usual: dict[str, Any] = {
        "api_address": "http://127.0.0.1:1",
        "api_key": "sandbox-key",
        "generation": 2,
        "bootstrap_servers": "127.0.0.1:2",
        "time_scale": 1.0,
        "rate_limit_per_minute": 60,
    }
    return Sandbox(**usual | changes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_what_it_says_until_a_signal(number: signal.Signals) -> None:
    with started([*COMMAND, "--json", "--generation", "2", "--time-scale", "100"], cwd=ROOT) as process:
        assert process.stdout is not None
        said = orjson.loads(process.stdout.readline())
        told = load(said["environment"], env_file=None).settings
        assert (told.hs_api_generation, told.guarantee) == (2, "at_least_once")
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer sandbox-key"}) as session:
            for base in (said["api"]["generation_1"], told.hs_base_url):
                async with session.get(f"{base}/jobs/none/status") as reply:
                    assert reply.status == 404
            async with session.get(said["api"]["steering"] + "/ledger") as reply:
                assert (await reply.json())["credits"] == 0
        assert await round_trip(told.kafka_bootstrap_servers, told.topic_submitted) == b"hello"
        os.kill(process.pid, number)
        assert process.wait(10) == 0


async def round_trip(bootstrap_servers: str, topic: str) -> bytes:
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer,
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer,
    ):
        await producer.send_and_wait(topic, b"hello")
        value: bytes = (await consumer.getone()).value
        return value


def test_the_text_can_be_pasted_into_a_shell_and_it_ends_by_itself() -> None:
    done = subprocess.run(
        [*COMMAND, "--seconds", "0.1"], capture_output=True, text=True, timeout=30, cwd=ROOT, check=True
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert all(each.startswith(("#", "export ")) for each in lines)
    exported = dict(shlex.split(each)[1].split("=", 1) for each in lines if each.startswith("export "))
    assert load(exported, env_file=None).settings.hs_api_generation == 1


def test_the_text_quotes_what_a_shell_would_read() -> None:
    said = {"api": {"generation_1": "", "generation_2": "", "steering": ""}, "bootstrap_servers": "", "topics": {}}
    assert "export NAME='a b; c'\n" in as_text(said | {"environment": {"NAME": "a b; c"}})


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 10.0, 100.0, 10_000.0])
def test_the_scaled_settings_are_settings_and_scale(generation: int, scale: float) -> None:
    told = load(sandbox(generation=generation, time_scale=scale).settings(), env_file=None).settings
    assert told.guarantee == "at_least_once"
    assert told.hs_base_url == "http://127.0.0.1:1" + {1: "/api/v1", 2: "/api"}[generation]
    if scale != 1:
        assert told.hs_first_poll_seconds == pytest.approx(35 / scale)
        assert told.record_deadline_seconds == pytest.approx(max(3.0, 300 / scale))
        assert told.rate_limit_per_minute == int(60 * scale / 2)
        assert told.bulk_poll_seconds == pytest.approx(20 / scale)
        assert told.bulk_max_wait_seconds == pytest.approx(30 / scale)
        assert told.bulk_deadline_seconds == pytest.approx(max(3.0, 21_600 / scale))


def test_an_api_without_a_limit_asks_for_none() -> None:
    assert sandbox(time_scale=10.0, rate_limit_per_minute=0).settings()["RATE_LIMIT_PER_MINUTE"] == "0"


def test_the_key_stays_out_of_the_repr() -> None:
    assert "sandbox-key" not in repr(sandbox())


def test_a_workers_environment_has_nothing_of_ours_that_could_disturb_it() -> None:
    os.environ["KAFKA_GROUP_ID"] = "the-user's"
    try:
        assert "KAFKA_GROUP_ID" not in environment({})
    finally:
        del os.environ["KAFKA_GROUP_ID"]
    assert environment({"PATH": "mine"})["PATH"] == "mine"


def test_topics_appear_on_first_use_with_four_partitions() -> None:
    with EmbeddedBroker(["first"]) as broker:
        assert broker.partitions("first") == broker.partitions("another") == PARTITIONS == 4
        assert broker.address.startswith("127.0.0.1:")


def blocked(status: str) -> int:
    return int(next(each for each in status.splitlines() if each.startswith("SigBlk")).split()[1], 16)


def test_no_signal_reaches_the_brokers_threads_and_all_reach_ours() -> None:
    """One that interrupted the mock cluster's poll ended it, and closing it then hung."""
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    before = set(Path("/proc/self/task").iterdir())
    with EmbeddedBroker(["first"]):
        threads = set(Path("/proc/self/task").iterdir()) - before
        masks = [blocked((thread / "status").read_text()) for thread in threads]
    wanted = sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))
    assert len(masks) >= 2
    assert all(mask & wanted == wanted for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == ours


@pytest.mark.parametrize("words", [["--time-scale", "0"], ["--service-seconds", "-1"], ["--generation", "3"], ["x"]])
def test_a_wrong_command_line_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        run(words)
    assert refusal.value.code == 2
    assert "usage: track-intake sandbox" in capsys.readouterr().err
