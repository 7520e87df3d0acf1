"""The command lines of `dead-letters` and `decide-again`, and what they print."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from worker.domain.deadletter import dead_letter
from worker.domain.record import Record
from worker.domain.replay import Position, Selection, of_dead_letter
from worker.domain.submission import ReadError, Unreadable
from worker.replay_arguments import dead_letters, decide_again, selection_of
from worker.replay_commands import dead_letters as run_dead_letters
from worker.replay_commands import decide_again as run_decide_again
from worker.replay_views import details, json_line, line

SECRET = b'{"item_id": "a", "url": "https://audio.example/?token=secret"}'


def letter() -> Record:
    event = Record("input", 3, 77, 0, b"key\x1b[31m" + b"k" * 100, SECRET, (("tenant", b"\xff\n"), ("none", None)))
    made = dead_letter(
        event, Unreadable(ReadError.BAD_URL, "/url"), topic="letters", at=datetime(2026, 5, 1, tzinfo=UTC)
    )
    return Record("letters", 2, 9, 1_777_593_600_000, made.key, made.value, made.headers)


def test_the_filters_of_a_command_line() -> None:
    options = dead_letters().parse_args([
        *("replay", "--reason", "not_json", "--reason", "bad_url", "--item", "x", "--limit", "3", "--dry-run"),
        *("--since", "2026-05-01T00:00:00Z", "--until", "2026-05-01T02:00:00+02:00", "1@2", "0@7"),
    ])  # fmt: skip
    at = 1_777_593_600_000
    assert selection_of(options) == Selection(
        frozenset({"not_json", "bad_url"}), at, at, "x", frozenset({Position(1, 2), Position(0, 7)})
    )
    assert (options.limit, options.dry_run, options.force) == (3, True, False)
    assert selection_of(dead_letters().parse_args(["list"])) == Selection()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["show"],
        ["show", "3"],
        ["show", "3@1", "--bytes", "0"],
        ["list", "--reason", "unheard_of"],
        ["list", "--since", "yesterday"],
        ["list", "--since", "2026-05-01T00:00:00"],
        ["list", "--since", "1969-05-01T00:00:00Z"],
        ["list", "--limit", "-1"],
        ["list", "1@2"],
        ["replay", "1-2"],
    ],
)
def test_a_wrong_command_line_starts_nothing(words: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert run_dead_letters(words, lambda: pytest.fail("settings were read"), out, err) == 2
    assert "usage: track-intake dead-letters" in err.getvalue()


def test_a_time_without_a_zone_is_refused_in_words() -> None:
    err = io.StringIO()
    run_dead_letters(["list", "--until", "2026-05-01T00:00:00"], lambda: None, io.StringIO(), err)
    assert "a time with a zone" in err.getvalue()


def test_help_is_no_mistake() -> None:
    out = io.StringIO()
    assert run_decide_again(["--help"], lambda: None, out, io.StringIO()) == 0
    assert "credit" in out.getvalue()


def test_decide_again_wants_a_choice() -> None:
    """Every decision made again costs: all of them only when that is said."""
    err = io.StringIO()
    assert run_decide_again(["--dry-run"], lambda: pytest.fail("settings were read"), io.StringIO(), err) == 2
    assert "--all" in err.getvalue()
    assert decide_again().parse_args(["--all"]).all


def test_unusable_settings_end_the_command() -> None:
    assert run_dead_letters(["list"], lambda: None, io.StringIO(), io.StringIO()) == 2


def test_a_line_names_everything_but_the_payload() -> None:
    shown = line(of_dead_letter(letter()), letter(), replayed=True)
    for part in ("2@9", "2026-05-01T00:00:00.000Z", "bad_url", "/url", "from input/3@77", "key\\x1b[31m", "replayed"):
        assert part in shown
    assert shown.isprintable()
    assert "secret" not in shown
    assert len(shown) < 200


def test_json_has_the_same_parts() -> None:
    assert orjson.loads(json_line(of_dead_letter(letter()), letter(), replayed=False)) == {
        "at": "2@9",
        "time": "2026-05-01T00:00:00.000Z",
        "error": "bad_url",
        "path": "/url",
        "origin": "input/3@77",
        "key": "key\\x1b[31m" + "k" * 32 + "...",
        "source": {"partition": 3, "offset": 77},
        "replayed": False,
    }


def test_details_show_headers_and_the_payload_only_when_asked() -> None:
    without = list(details(of_dead_letter(letter()), letter(), replayed=False, payload=0))
    assert "  tenant: \\xff\\n" in without
    assert "  none: -" in without
    assert without[-1] == f"payload: {len(SECRET)} bytes, shown with --payload"
    assert "secret" not in "\n".join(without)
    assert list(details(of_dead_letter(letter()), letter(), replayed=False, payload=10))[-1] == '{"item_id"...'


def test_a_record_that_tells_nothing_is_shown_as_well() -> None:
    bare = Record("letters", 0, 0, -1, None, None, ())
    assert line(of_dead_letter(bare), bare, replayed=False).split() == ["0@0", "-", "-", "/", "from", "?", "key", "-"]
    assert orjson.loads(json_line(of_dead_letter(bare), bare, replayed=False))["source"] is None


def command(tmp_path: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it as an operator does, in an empty directory."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("words", [("dead-letters", "list"), ("decide-again", "--all")])
def test_brokers_that_are_away_are_named_and_no_key_is_needed(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command(tmp_path, *words, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "FAIL  cannot connect to KAFKA_BOOTSTRAP_SERVERS" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_are_listed_and_say_which_settings_are_wrong(tmp_path: Path) -> None:
    listed = command(tmp_path, "--help").stdout
    assert "dead-letters" in listed
    assert "decide-again" in listed
    done = command(tmp_path, "dead-letters", "list")
    assert done.returncode == 2
    assert "KAFKA_BOOTSTRAP_SERVERS: required" in done.stderr
