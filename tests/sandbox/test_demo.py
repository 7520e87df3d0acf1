"""The demo as its users start it: what it shows, what its exit code means, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.children import started
from worker.sandbox import demo
from worker.sandbox.process import WorkerEndedError, WorkerProcess
from worker.sandbox.screen import LiveScreen, PlainScreen, Progress, drawn, line, screen_for
from worker.sandbox.show import ACTS, JOINING
from worker.sandbox.surroundings import TOPICS

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "worker", "demo", "--events", "45", "--backlog", "200"]
PROGRESS = Progress(
    act="Act 1 of 3",
    seconds=123.4,
    total=1800,
    submitted=1700,
    settled=1650,
    by_topic=dict.fromkeys(TOPICS.values(), 900),
    in_flight=64,
    retrying=12,
    requests=12345,
    refused=88,
    unavailable=12,
    credits=1700,
    jobs=0,
    job_tracks=0,
    job_requests=0,
    latest=[("certification refused " * 3, "manual_review", "recall_suspicious_borderline")] * 6,
)


def hostile(**more: str) -> dict[str, str]:
    """An environment that would break the worker if the demo let it through."""
    broken = {"KAFKA_BOOTSTRAP_SERVERS": "nowhere:1", "MAX_CONCURRENCY": "many", "HTTP_PROXY": "http://127.0.0.1:1"}
    return {**os.environ, "PYTHONPATH": str(ROOT), **broken, **more}


def test_it_decides_everything_and_says_so_in_plain_lines(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HS_TIMEOUT_SECONDS=never\nMAX_CONCURRENCY=none\n")
    done = subprocess.run(DEMO, env=hostile(), cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    said = done.stdout
    assert (done.returncode, done.stderr) == (0, ""), said
    assert "OK: 290 events" in said
    cleared = re.search(r"settled 290/290  jobs (\d+): 200 tracks in (\d+) requests", said)
    assert cleared is not None
    jobs, requests = map(int, cleared.groups())
    assert (
        4 <= jobs <= requests / 3 <= 30
    )  # each partition has one: made, asked for and read; a busy machine makes more
    assert f"{jobs} jobs made, asked for and read" in said
    assert "GUARANTEE=at_least_once" in said
    assert "100 times too fast" in said
    assert "\x1b" not in said
    for word in ("certified", "origin_contradicts_tier", "analysis_timeout", "mock_result", "unknown_policy", "p95"):
        assert word in said
    assert "s3cr3t" not in said


def test_without_time_it_says_what_is_missing_and_keeps_the_logs(tmp_path: Path) -> None:
    command = [*DEMO, "--limit-seconds", "1", "--logs", str(tmp_path / "logs")]
    done = subprocess.run(command, env=hostile(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == demo.FOUND_WRONG
    assert "not done after 1 s" in done.stdout
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["worker-generation-2.log"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for children under /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_worker_too(number: signal.Signals, tmp_path: Path) -> None:
    said = tmp_path / "said"  # not a pipe, which would stop a demo that complains of each signal
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with said.open("wb") as complaints, started(DEMO, env=hostile(TMPDIR=str(scratch)), stderr=complaints) as process:
        assert process.stdout is not None
        while b"Act 1" not in process.stdout.readline():
            assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until:
            process.send_signal(number)  # impatience changes nothing
    assert (process.returncode, said.read_text()) == (
        128 + number,
        f"\n{number.name}: stopped, and everything that was started has ended.\n",
    )
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--events", "3"], ["--backlog", "3"], ["--time-scale", "0.5"], ["--limit-seconds", "0"], ["more"]]
)
def test_a_wrong_command_line_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        demo.run(words)
    assert refusal.value.code == demo.USAGE
    assert "usage: track-intake demo" in capsys.readouterr().err


async def test_a_worker_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    worker = await WorkerProcess.start({"MAX_CONCURRENCY": "none"}, tmp_path / "worker.log")
    assert await worker.stop(30) in {2, -signal.SIGTERM}
    with pytest.raises(WorkerEndedError, match="exit code"):
        worker.check()


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_of_the_display_fits(width: int) -> None:
    console = Console(width=width, force_terminal=True)
    with console.capture() as captured:
        console.print(drawn(PROGRESS))
    lines = captured.get().splitlines()
    assert len(lines) == 15
    assert len(line(PROGRESS)) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_once_there_are_jobs_the_display_tells_of_their_tracks_and_requests(width: int) -> None:
    progress = replace(PROGRESS, jobs=123, job_tracks=12345, job_requests=456)
    console = Console(width=width, force_terminal=True)
    with console.capture() as captured:
        console.print(drawn(progress))
    said = "jobs 123: 12345 tracks in 456 requests"
    assert sum(said in each for each in captured.get().splitlines()) == 1
    assert said in line(progress)
    assert len(line(progress)) <= width


def test_every_act_is_said_in_one_line() -> None:
    assert all(len(act.title + JOINING) <= 80 for act in ACTS)


def test_the_display_is_live_on_a_terminal_only() -> None:
    assert isinstance(screen_for(Console(force_terminal=True, _environ={"TERM": "xterm"})), LiveScreen)
    assert isinstance(screen_for(Console(force_terminal=True, _environ={"TERM": "dumb"})), PlainScreen)
    assert isinstance(screen_for(Console(force_terminal=False)), PlainScreen)


def test_the_plain_display_says_an_act_once_and_then_a_line_a_second_and_the_last_look() -> None:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured, PlainScreen(console) as screen:
        for tenth in range(25):
            screen.show(replace(PROGRESS, seconds=tenth / 10))
        screen.show(replace(PROGRESS, seconds=2.5, settled=PROGRESS.total))
    lines = captured.get().splitlines()
    assert lines[0] == "Act 1 of 3"
    assert [each[:7] for each in lines[1:]] == ["  0.0 s", "  1.0 s", "  2.0 s", "  2.5 s"]
