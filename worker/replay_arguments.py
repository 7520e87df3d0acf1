"""The command lines of `dead-letters` and `decide-again`, and the selection that they mean."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from worker.domain.replay import Position, Selection, position
from worker.domain.submission import ReadError

PAYLOAD_BYTES = 2_000
_FORGET = "the record of what was replayed is kept in the topic <source topic>-replayed"


def dead_letters() -> argparse.ArgumentParser:
    """`dead-letters list|show|replay`."""
    parser = argparse.ArgumentParser(prog="track-intake dead-letters", description="Look at dead letters, replay them.")
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="one line for each; never a payload")
    _filters(listed, reasons=[code.value for code in ReadError])
    listed.add_argument("--json", action="store_true", help="one JSON object a line")
    shown = commands.add_parser("show", help="everything about one; the payload only when asked for")
    shown.add_argument("position", type=_position, metavar="PARTITION@OFFSET")
    shown.add_argument("--payload", action="store_true", help="print it, escaped")
    shown.add_argument(
        "--bytes", type=_count, default=PAYLOAD_BYTES, help=f"of the payload at most (default {PAYLOAD_BYTES})"
    )
    replay = commands.add_parser("replay", help="put the originals back on the input topic, once", epilog=_FORGET)
    _filters(replay, reasons=[code.value for code in ReadError])
    _doing(replay)
    return parser


def decide_again() -> argparse.ArgumentParser:
    """`decide-again`."""
    parser = argparse.ArgumentParser(
        prog="track-intake decide-again",
        description="Submit the events of chosen review decisions again: each gets a new decision, and costs a credit.",
        epilog=_FORGET,
    )
    _filters(parser, reasons=None)
    parser.add_argument("--all", action="store_true", help="every decision on the review topic")
    _doing(parser)
    return parser


def selection_of(options: argparse.Namespace) -> Selection:
    """What the filters of a command line choose."""
    return Selection(
        reasons=frozenset(options.reason),
        since_ms=options.since,
        until_ms=options.until,
        item=options.item,
        positions=frozenset(getattr(options, "positions", ())),
    )


def _filters(parser: argparse.ArgumentParser, *, reasons: list[str] | None) -> None:
    parser.add_argument(
        "--reason", action="append", default=[], metavar="CODE", choices=reasons, help="may be given several times"
    )
    parser.add_argument("--since", type=_time, metavar="TIME", help="RFC 3339 with a zone: not before this time")
    parser.add_argument("--until", type=_time, metavar="TIME", help="before this time")
    parser.add_argument("--item", metavar="ID", help="the track's item_id (of a dead letter: or its key)")
    parser.add_argument("--limit", type=_count, metavar="N", help="stop after so many")


def _doing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("positions", nargs="*", type=_position, metavar="PARTITION@OFFSET", help="exactly these")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, publish nothing")
    parser.add_argument("--force", action="store_true", help="also what was replayed before")


def _position(text: str) -> Position:
    if (found := position(text)) is None:
        raise argparse.ArgumentTypeError("expected PARTITION@OFFSET, such as 3@1234")
    return found


def _time(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError("expected a time with a zone, such as 2026-05-01T09:00:00Z")
    unix_ms = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
    if unix_ms < 0:
        raise argparse.ArgumentTypeError("expected a time after 1970")
    return round(unix_ms)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected a number above 0")
    return int(text)
