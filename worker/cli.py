"""Commands and exit codes. What a command needs is imported when it runs: `policy` starts without Kafka."""

from __future__ import annotations

import argparse
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING

from worker import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.settings import Loaded, Settings, SettingsError

    Command = Callable[[argparse.Namespace], int]
    Delegated = Callable[[Sequence[str]], int]


class Exit(IntEnum):
    """What the process says when it ends."""

    OK = 0
    FAULT = 1
    USAGE = 2
    CHECK_FAILED = 3
    DRAIN_MISSED = 4


EXIT_MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done; or drained and stopped as asked",
    Exit.FAULT: "a fault nobody foresaw; what is committed is right: start again",
    Exit.USAGE: "wrong command line or settings; nothing was started",
    Exit.CHECK_FAILED: (
        "check, topics, policy or demo found something wrong, a replay is incomplete, or no worker answers explain; "
        "they say what"
    ),
    Exit.DRAIN_MISSED: "DRAIN_SECONDS ran out with calls still running; their tracks will be done again",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (argparse itself exits with 2 on a wrong command line)."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _dispatch(words)
    except BrokenPipeError:  # whoever read our output, such as head, has left; a worker without its log is a fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAULT


def _dispatch(words: Sequence[str]) -> int:
    if words and words[0] in _DELEGATED:
        return _DELEGATED[words[0]](words[1:])
    args = _parser().parse_args(words)
    command: Command = args.command
    return command(args)


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code.value}  {text}" for code, text in EXIT_MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="track-intake",
        description="One decision per submitted track, exactly once.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"track-intake {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, text: str, command: Command | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    add("run", "decide tracks until SIGTERM or SIGINT", _run)
    add("check", "try settings, topics, permissions and the API; say what is wrong and how to mend it", _check)
    topics = add("topics", "print the topics that the worker needs, or create them", _topics)
    topics.add_argument("action", nargs="?", choices=("print", "create"), default="print")
    topics.add_argument(
        "--replay", action="store_true", help="also those in which replays remember what they did (optional)"
    )
    add("settings", "print the settings in force and where each comes from, secrets masked", _settings)
    add("policy", "show NAME, check FILE, or decide a reply of the API; needs no settings")
    add("explain", "what waits for what, in all partitions of a running worker or in one, and why")
    add("dead-letters", "list, show or replay what could not be read as events")
    add("decide-again", "submit the events of chosen review decisions again")
    add("demo", "watch the worker decide a stream of sample tracks; needs no settings")
    add("sandbox", "start a simulated API and an embedded broker for tests; needs no settings")
    return parser


def _loaded(unneeded: Sequence[str] = ()) -> Loaded | None:
    """Read the settings; where they are wrong, say so on standard error."""
    from worker.settings import SettingsError, load

    try:
        return load(unneeded=unneeded)
    except SettingsError as refusal:
        _tell(refusal)
        return None


def _tell(refusal: SettingsError) -> None:
    print("The settings cannot be used:", *refusal.mistakes, sep="\n  ", file=sys.stderr)


def _run(_args: argparse.Namespace) -> int:
    if (loaded := _loaded()) is None:
        return Exit.USAGE
    from worker.app import run

    settings = loaded.settings
    return _unless_refused(lambda: run(settings))


def _check(_args: argparse.Namespace) -> int:
    if (loaded := _loaded()) is None:
        return Exit.USAGE
    from worker.operations import check

    settings = loaded.settings
    return _unless_refused(lambda: check(settings, sys.stdout))


def _unless_refused(run: Callable[[], int]) -> int:
    """Some mistakes show only when a setting is used: what is in a policy's file, and in variables of libraries."""
    from worker.settings import SettingsError

    try:
        return run()
    except SettingsError as refusal:
        _tell(refusal)
        return Exit.USAGE


def _topics(args: argparse.Namespace) -> int:
    if (loaded := _loaded(unneeded=["hs_api_key"])) is None:
        return Exit.USAGE
    from worker.operations import topics

    return topics(loaded.settings, sys.stdout, create=args.action == "create", replay=args.replay)


def _settings(_args: argparse.Namespace) -> int:
    if (loaded := _loaded()) is None:
        return Exit.USAGE
    from worker.settings import shown

    rows = [(name.upper(), shown(value), loaded.sources.get(name, "default")) for name, value in loaded.settings]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    print("\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}" for name, value, source in rows))
    return Exit.OK


def _policy(words: Sequence[str]) -> int:
    from worker.policy_commands import run

    return run(words, sys.stdout, sys.stderr)


def _dead_letters(words: Sequence[str]) -> int:
    from worker.replay_commands import dead_letters

    return dead_letters(words, _broker_settings, sys.stdout, sys.stderr)


def _decide_again(words: Sequence[str]) -> int:
    from worker.replay_commands import decide_again

    return decide_again(words, _broker_settings, sys.stdout, sys.stderr)


def _broker_settings() -> Settings | None:
    loaded = _loaded(unneeded=["hs_api_key"])
    return None if loaded is None else loaded.settings


def _explain(words: Sequence[str]) -> int:
    from worker.explain_command import explain

    return explain(words, _broker_settings, sys.stdout, sys.stderr)


def _demo(words: Sequence[str]) -> int:
    from worker.sandbox.demo import run

    return run(words)


def _sandbox(words: Sequence[str]) -> int:
    from worker.sandbox.stack import run

    return run(words)


# They parse their own arguments: what they need is known only there.
_DELEGATED: Mapping[str, Delegated] = {
    "policy": _policy,
    "explain": _explain,
    "dead-letters": _dead_letters,
    "decide-again": _decide_again,
    "demo": _demo,
    "sandbox": _sandbox,
}
