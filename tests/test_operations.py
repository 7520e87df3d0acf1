"""`topics` without a broker: the commands that an administrator is given."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.operations import topics
from worker.settings import load

REQUIRED = {"HS_API_KEY": "-", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TOPIC_REVIEW": "to-people"}
REPLAYED = ["track-dead-letter-replayed", "to-people-replayed"]


def printed(*, replay: bool, **more: str) -> list[str]:
    out = io.StringIO()
    assert topics(load(environ=REQUIRED | more, env_file=None).settings, out, create=False, replay=replay) == 0
    return out.getvalue().splitlines()


def test_the_commands_can_be_pasted() -> None:
    """They go to the brokers of the settings."""
    for line in printed(replay=True, KAFKA_BOOTSTRAP_SERVERS="a.example:9092, b.example:9092"):
        assert line.startswith("kafka-topics.sh --bootstrap-server 'a.example:9092, b.example:9092' --create ")


def test_check_says_what_to_mend_where_nobody_answers(tmp_path: Path) -> None:
    """The client's own complaints are left out: each finding is said once."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "check"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])}
        | REQUIRED
        | {"HS_BASE_URL": "http://127.0.0.1:1/api/v1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "FAIL  kafka: cannot connect to KAFKA_BOOTSTRAP_SERVERS: 127.0.0.1:1" in done.stdout
    assert "FAIL  API at http://127.0.0.1:1/api/v1: connect_failed" in done.stdout
    assert "Check HS_BASE_URL" in done.stdout
    assert done.stdout.endswith("2 to mend\n")


def test_the_topics_of_replays_are_printed_only_when_asked_for() -> None:
    without, with_them = printed(replay=False), printed(replay=True)
    assert len(without) == 5
    assert with_them[:5] == without
    assert not any("-replayed" in line for line in without)
    assert [line.split("--topic ")[1].split()[0] for line in with_them[5:]] == REPLAYED


def test_the_topics_of_replays_have_one_partition_and_never_forget() -> None:
    for line in printed(replay=True)[5:]:
        assert "--partitions 1 " in line
        assert line.endswith("--config cleanup.policy=compact")


def test_the_topic_of_webhooks_is_wanted_only_with_their_address() -> None:
    """It has the input's number of partitions and forgets within a day."""
    webhooks = {"WEBHOOK_URL": "https://intake.example.com", "WEBHOOK_SECRET": "-"}
    assert not any("track-webhook" in line for line in printed(replay=True))
    wanted = printed(replay=False, **webhooks)
    assert len(wanted) == 6
    assert [line.split("--partitions ")[1].split()[0] for line in (wanted[0], wanted[5])] == ["16", "16"]
    assert wanted[5].split(" --config ", 1)[0].endswith("--topic track-webhook --partitions 16")
    assert "--config cleanup.policy=delete --config retention.ms=86400000 " in wanted[5]


@pytest.mark.parametrize(("words", "lines"), [((), 5), (("--replay",), 7), (("print", "--replay"), 7)])
def test_the_command_line_asks_for_them(tmp_path: Path, words: tuple[str, ...], lines: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "topics", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])} | REQUIRED,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert len(done.stdout.splitlines()) == lines
