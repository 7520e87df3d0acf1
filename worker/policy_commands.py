"""The `policy` commands: show a decision table, check a file, decide one reply of the API."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import orjson

from worker.domain.normalise import UnknownShape, analysis_of
from worker.domain.policies import BUILT_IN, DEFAULT
from worker.domain.policy import rule
from worker.domain.policy_file import PolicyError, load
from worker.domain.policy_text import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.domain.analysis import Analysis
    from worker.domain.policy import Policy

OK, BAD_INPUT, REFUSED = 0, 2, 3  # cli.py's codes; REFUSED is `check` only, BAD_INPUT has nothing to work on
MAX_REPLY_BYTES = 16 * 1024 * 1024


class _UnusableError(Exception):
    """The arguments name nothing that can be worked on; the text says what and why."""


def run(args: Sequence[str], out: TextIO, err: TextIO, *, stdin: BinaryIO | None = None) -> int:
    """Run one `policy` command; returns the exit code: 0 done, 2 arguments or input unusable, 3 `check` refuses."""
    with redirect_stdout(out), redirect_stderr(err):
        try:
            options = _parser().parse_args(args)
        except SystemExit as stop:  # argparse has said why
            return OK if stop.code == 0 else BAD_INPUT
    try:
        return _COMMANDS[options.command](options, out, err, stdin or sys.stdin.buffer)
    except (_UnusableError, PolicyError) as error:
        print(error, file=err)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="track-intake policy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    names = ", ".join(BUILT_IN)
    show = commands.add_parser("show", help="print the complete decision table")
    show.add_argument("policy", help=f"{names}, or a TOML file")
    show.add_argument("--every", action="store_true", help="one line for each combination instead of groups")
    check = commands.add_parser("check", help="say whether the worker would run this file's policy, or why not")
    check.add_argument("file", help="a TOML file, or - for standard input")
    decide = commands.add_parser("decide", help="print the decision for one reply of the API, either generation")
    decide.add_argument("--policy", default=DEFAULT, help=f"{names}, or a TOML file (default {DEFAULT})")
    decide.add_argument("--sandbox", action="store_true", help="let mock results through, as the sandbox does")
    decide.add_argument("reply", help="a JSON file, or - for standard input")
    return parser


def _show(options: argparse.Namespace, out: TextIO, _err: TextIO, _stdin: BinaryIO) -> int:
    print(show(_policy(options.policy), every=options.every), file=out)
    return OK


def _check(options: argparse.Namespace, out: TextIO, err: TextIO, stdin: BinaryIO) -> int:
    text = _text(_read(options.file, stdin), options.file)
    try:
        policy = load(text, source=_source(options.file))
    except PolicyError as error:
        print(error, file=err)
        return REFUSED
    print(f"OK: {policy.name}, {policy.kind}, {_counted(len(policy.rules), 'rule')}, {policy.digest}", file=out)
    return OK


def _decide(options: argparse.Namespace, out: TextIO, _err: TextIO, stdin: BinaryIO) -> int:
    policy = _policy(options.policy)
    body = _json(_read(options.reply, stdin), _source(options.reply))
    analysis = analysis_of(body)
    if isinstance(analysis, UnknownShape):
        raise _UnusableError(f"{_source(options.reply)}: {_no_result(analysis)}")
    shown = _decision(policy, analysis, sandbox=options.sandbox)
    print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode(), file=out)
    return OK


_COMMANDS: dict[str, Callable[[argparse.Namespace, TextIO, TextIO, BinaryIO], int]] = {
    "show": _show,
    "check": _check,
    "decide": _decide,
}


def _policy(name: str) -> Policy:
    if name in BUILT_IN:
        return BUILT_IN[name]
    if not Path(name).is_file():
        raise _UnusableError(f"{name}: neither a file nor one of {', '.join(BUILT_IN)}")
    return load(_text(_read(name, sys.stdin.buffer), name), source=name)


def _read(name: str, stdin: BinaryIO) -> bytes:
    try:
        data = stdin.read(MAX_REPLY_BYTES + 1) if name == "-" else _read_file(Path(name))
    except OSError as error:
        raise _UnusableError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_REPLY_BYTES:
        raise _UnusableError(f"{_source(name)}: longer than {MAX_REPLY_BYTES} bytes")
    return data


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_REPLY_BYTES + 1)


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _UnusableError(f"{_source(name)}: line {line}: not UTF-8") from error


def _source(name: str) -> str:
    return "standard input" if name == "-" else name


def _json(data: bytes, source: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _UnusableError(f"{source}: line {error.lineno}: not JSON: {error.msg}") from error


def _no_result(unknown: UnknownShape) -> str:
    if not unknown.keys:
        return "no result of the API: expected a JSON object with verdict or result"
    return f"no result of the API: expected verdict or result, found the keys {', '.join(unknown.keys)}"


def _decision(policy: Policy, analysis: Analysis, *, sandbox: bool) -> dict[str, Any]:
    ruling = rule(policy, analysis, sandbox=sandbox)
    return {
        "decision": ruling.decision,
        "reason": ruling.reason,
        "error": analysis.error,
        "rule": ruling.rule,
        "policy": {"name": policy.name, "digest": policy.digest},
        "analysis": {
            "status": analysis.status,
            "mock": analysis.mock,
            "verdict": analysis.verdict,
            "tiers": analysis.tiers,
            "truth_score": analysis.truth_score,
            "geo_score": analysis.geo_score,
            "proto_score": analysis.proto_score,
            "origin": analysis.origin,
        },
    }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
