"""The `policy` commands as an operator meets them: text out, exit code, and a clear word for bad input."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from worker.domain.policies import BUILT_IN
from worker.policy_commands import BAD_INPUT, MAX_REPLY_BYTES, OK, REFUSED, run

if TYPE_CHECKING:
    from pathlib import Path

OWN = """\
name = "mine"
kind = "intake"
[[rules]]
when = { human_safe = "suspicious" }
decision = "reject"
reason = "human_safe_suspicious"
[default]
decision = "manual_review"
reason = "we_listen"
"""
UDIO = {
    "status": "complete",
    "job_id": "job-1",
    "result": {"verdict": "human", "tier_verdicts": {"press_safe": "human", "human_safe": "ai", "recall": "ai"}},
}
CLEAN = {"status": "success", "verdict": "human", "tier_verdicts": {"human_safe": "human", "recall": "human"}}


@dataclass
class Ran:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return orjson.loads(self.out)


def _run(*args: str, stdin: bytes = b"") -> Ran:
    out, err = io.StringIO(), io.StringIO()
    code = run(args, out, err, stdin=io.BytesIO(stdin))
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_show_prints_a_built_in_table(name: str) -> None:
    ran = _run("show", name)
    assert (ran.code, ran.err) == (OK, "")
    assert BUILT_IN[name].digest in ran.out


def test_show_prints_each_combination_on_request() -> None:
    ran = _run("show", "two-tier", "--every")
    assert sum(line.startswith("  1  ") for line in ran.out.splitlines()) == 384


def test_show_reads_an_own_file(own: Path) -> None:
    assert "we_listen" in _run("show", str(own)).out


def test_check_says_ok_with_the_digest(own: Path) -> None:
    ran = _run("check", str(own))
    assert (ran.code, ran.err) == (OK, "")
    assert ran.out.startswith("OK: mine, intake, 1 rule, sha256:")
    assert _run("check", "-", stdin=OWN.encode()).out == ran.out


def test_check_refuses_with_every_reason() -> None:
    bad = OWN.replace('"suspicious"', '"human"').replace('"manual_review"', '"reject"')
    ran = _run("check", "-", stdin=bad.encode())
    assert (ran.code, ran.out) == (REFUSED, "")
    said, example = "would give reject though no tier says suspicious, in", "for example press_safe human"
    assert ran.err.splitlines() == [
        f"standard input: line 3, rule 1: {said} 9 combinations, {example}, human_safe human, recall human",
        f"standard input: line 7, default: {said} 18 combinations, {example}, human_safe not_evaluated, recall human",
    ]


@pytest.mark.parametrize(
    ("policy", "body", "decision", "reason", "by"),
    [
        ("two-tier", UDIO, "reject", "human_safe_suspicious", "rule 1"),
        ("certification", UDIO, "certified", None, "rule 2"),
        ("two-tier", CLEAN, "approve", None, "rule 3"),
        ("strict", CLEAN, "manual_review", "tier_not_evaluated", "default"),
        ("permissive", CLEAN, "approve", None, "rule 3"),
        ("two-tier", {"status": "failed", "error": "audio_load_failed"}, "manual_review", "analysis_failed", "guard 2"),
        ("two-tier", CLEAN | {"mock": True}, "manual_review", "mock_result", "guard 3"),
    ],
)
def test_decide_takes_replies_of_both_generations(
    policy: str, body: dict[str, Any], decision: str, reason: str | None, by: str
) -> None:
    ran = _run("decide", "--policy", policy, "-", stdin=orjson.dumps(body))
    assert (ran.code, ran.err) == (OK, "")
    shown = ran.json()
    assert (shown["decision"], shown["reason"], shown["rule"]) == (decision, reason, by)
    assert shown["policy"] == {"name": policy, "digest": BUILT_IN[policy].digest}
    assert shown["error"] == body.get("error")


def test_decide_reads_files_and_own_policies_and_lets_mocks_through_in_the_sandbox(own: Path, tmp_path: Path) -> None:
    reply = tmp_path / "reply.json"
    reply.write_bytes(orjson.dumps(UDIO | {"mock": True}))
    assert _run("decide", str(reply)).json()["reason"] == "mock_result"
    shown = _run("decide", "--sandbox", "--policy", str(own), str(reply)).json()
    assert (shown["decision"], shown["policy"]["name"]) == ("reject", "mine")
    assert shown["analysis"]["tiers"] == {"press_safe": "human", "human_safe": "suspicious", "recall": "suspicious"}


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        ((), b"", "the following arguments are required"),
        (("bless",), b"", "invalid choice"),
        (("show", "two-teir"), b"", "two-teir: neither a file nor one of two-tier, certification"),
        (("check", "missing.toml"), b"", "missing.toml: cannot be read: No such file"),
        (("check", "-"), b"name = \n\xff", "standard input: line 2: not UTF-8"),
        (("decide", "missing.json"), b"", "missing.json: cannot be read"),
        (("decide", "--policy", "nope", "-"), b"{}", "nope: neither a file"),
        (("decide", "-"), b'{\n"verdict": nan}', "standard input: line 2: not JSON"),
        (("decide", "-"), b'{"job_id": "s3cret", "status": "queued"}', "found the keys job_id, status"),
        (("decide", "-"), b"[]", "expected a JSON object with verdict or result"),
        (("decide", "-"), b" " * (MAX_REPLY_BYTES + 1), "standard input: longer than"),
    ],
)
def test_bad_input_is_named_and_ends_with_its_own_code(args: tuple[str, ...], stdin: bytes, said: str) -> None:
    ran = _run(*args, stdin=stdin)
    assert (ran.code, ran.out) == (BAD_INPUT, "")
    assert said in ran.err
    assert "s3cret" not in ran.err


def test_a_file_that_check_refuses_neither_decides_nor_shows(own: Path) -> None:
    own.write_text(OWN.replace("[default]", "[defaults]"), encoding="utf-8")
    for args in (("show", str(own)), ("decide", "--policy", str(own), "-")):
        ran = _run(*args, stdin=orjson.dumps(CLEAN))
        assert ran.code == BAD_INPUT
        assert "line 9, default: missing" in ran.err


def test_help_goes_to_the_output() -> None:
    ran = _run("--help")
    assert (ran.code, ran.err) == (OK, "")
    assert "decide" in ran.out
