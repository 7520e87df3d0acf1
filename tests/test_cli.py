"""Commands, their exit codes, and what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import worker
from worker import __version__
from worker.cli import EXIT_MEANINGS, Exit

ROOT = Path(__file__).parents[1]
BUILT_IN = Path(worker.__file__).with_name("domain") / "builtin"
REQUIRED = {"HS_API_KEY": "hidden", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def run(tmp_path: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one command in an empty directory, so that no `.env` is read."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_lists_commands_and_exit_codes(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == Exit.OK
    for word in ("run", "check", "topics", "settings", "policy", "demo", "sandbox", *EXIT_MEANINGS.values()):
        assert word in done.stdout


def test_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"track-intake {__version__}\n"


def test_every_exit_code_has_its_meaning() -> None:
    assert set(EXIT_MEANINGS) == set(Exit)


@pytest.mark.parametrize("words", [(), ("nothing",), ("topics", "nothing")])
def test_a_wrong_command_line_is_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert run(tmp_path, *words).returncode == Exit.USAGE


@pytest.mark.parametrize("command", ["run", "check", "topics", "settings"])
def test_wrong_settings_start_nothing_and_are_all_named(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, HTTP_PORT="x", HS_CONNECT_TIMEOUT_SECONDS="500")
    assert done.returncode == Exit.USAGE
    assert done.stdout == ""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "HTTP_PORT", "HS_CONNECT_TIMEOUT_SECONDS"):
        assert name in done.stderr
    assert ("HS_API_KEY: " in done.stderr) == (command != "topics")


def test_settings_tell_value_and_source_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_CONCURRENCY=9\n")
    done = run(tmp_path, "settings", **REQUIRED)
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert done.returncode == Exit.OK
    assert rows["HS_API_KEY"] == ["********", "environment"]
    assert rows["MAX_CONCURRENCY"] == ["9", ".env"]
    assert rows["MAX_ATTEMPTS"] == ["5", "default"]
    assert "hidden" not in done.stdout


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "worker", "settings"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | REQUIRED,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (Exit.FAULT, "")


@pytest.mark.parametrize("command", ["run", "check"])
def test_policies_that_cannot_be_loaded_start_nothing_and_are_all_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    (tmp_path / "bad.toml").write_text('name = "mine"\n')
    (tmp_path / "strict.toml").write_text((BUILT_IN / "strict.toml").read_text())
    files = f"{tmp_path / 'latin.toml'},{tmp_path / 'bad.toml'},{tmp_path / 'strict.toml'}"
    done = run(tmp_path, command, **REQUIRED, POLICY="two-teir", POLICY_FILES=files)
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    heading, *lines = done.stderr.splitlines()
    assert heading == "The settings cannot be used:"
    assert "POLICY: two-teir cannot be read" in lines[0]
    assert "two-tier, " in lines[0]
    assert "latin.toml is not UTF-8" in done.stderr
    assert "bad.toml: line 1" in done.stderr
    assert "strict.toml: line" in done.stderr
    assert all(line.strip().startswith(("POLICY: ", "POLICY_FILES: ")) for line in lines)


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    text = (BUILT_IN / "strict.toml").read_text().replace('name = "strict"', 'name = "mine"')
    (tmp_path / "one.toml").write_text(text)
    (tmp_path / "same.toml").write_text(text)
    (tmp_path / "two.toml").write_text(text.replace("0.5", "0.6"))
    done = run(tmp_path, "check", **REQUIRED, POLICY="one.toml", POLICY_FILES="same.toml,two.toml")
    assert done.returncode == Exit.USAGE
    assert done.stderr.splitlines()[1:] == [
        "  POLICY_FILES: two.toml is a second policy named mine; a decision names one"
    ]


def test_policy_needs_no_settings_and_keeps_its_own_arguments(tmp_path: Path) -> None:
    done = run(tmp_path, "policy", "show", "strict")
    assert done.returncode == Exit.OK
    assert "strict" in done.stdout
    assert run(tmp_path, "policy", "show", "nothing").returncode == Exit.USAGE


def test_a_light_command_does_not_load_the_clients(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker", "policy", "show", "strict"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert not {"aiokafka", "httpx", "aiohttp"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
