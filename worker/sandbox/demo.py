"""`track-intake demo`: the real worker decides a stream of sample tracks, watched live and judged at the end."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from worker.sandbox.cases import smallest_count
from worker.sandbox.interruption import Interrupted, until_signalled
from worker.sandbox.traffic import smallest_backlog

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, USAGE, FOUND_WRONG = 0, 2, 3  # as cli.Exit documents them
_SIGNALLED = 128  # plus the signal's number, as shells have it


def run(words: Sequence[str]) -> int:
    """Run the demo; returns 0 only if every event got exactly the outcome that it should have."""
    options = _options(words)
    try:
        from worker.sandbox.show import Plan, perform  # noqa: PLC0415 - needs the extra, whose absence is told here
    except ImportError as missing:
        sys.stderr.write(f"{missing}\nThe demo needs its extra: pip install 'track-intake[sandbox]'\n")
        return USAGE
    directory = options.logs or Path(tempfile.mkdtemp(prefix="track-intake-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    scale, limit_seconds = options.time_scale, options.limit_seconds
    plan = Plan(options.events, options.backlog, options.seed, scale, limit_seconds, directory)
    keep = options.logs is not None
    try:
        passed = asyncio.run(until_signalled(perform(plan)))
        keep = keep or not passed
    except Interrupted as interrupted:
        sys.stderr.write(f"\n{interrupted}: stopped, and everything that was started has ended.\n")
        return _SIGNALLED + interrupted.number
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    return OK if passed else FOUND_WRONG


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="track-intake demo", description=__doc__)
    least = max(smallest_count(1), smallest_count(2))
    parser.add_argument(
        "--events", type=int, default=90, help=f"events of each of the first two acts (at least {least})"
    )
    parser.add_argument("--backlog", type=int, default=400, help=f"tracks of the third (at least {smallest_backlog()})")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another stream")
    parser.add_argument("--time-scale", type=float, default=100.0, help="how many times too fast the API's clock runs")
    parser.add_argument("--limit-seconds", type=float, default=75.0, help="give up after so long")
    parser.add_argument("--logs", type=Path, help="directory to keep the worker's logs in")
    options = parser.parse_args(words)
    if options.events < least or options.backlog < smallest_backlog():
        parser.error(f"expected at least {least} events and a backlog of at least {smallest_backlog()}")
    if options.time_scale < 1 or options.limit_seconds <= 0:
        parser.error("expected a time scale from 1 on and a positive limit")
    return options
