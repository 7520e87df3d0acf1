"""`python -m tests.chaos --seed 7 --minutes 30`: any length of it; `make chaos SEED=7 MINUTES=30`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.chaos.plan import KINDS
from tests.chaos.report import broken_promises, figures
from tests.chaos.run import NOT_WITH_JOBS, Options, run


def _options() -> tuple[Options, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--generation", type=int, choices=(1, 2), default=2)
    parser.add_argument("--rate", type=float, default=40, help="events a second")
    parser.add_argument("--service-seconds", type=float, default=2, help="mean time of an analysis, ±30 %%")
    parser.add_argument("--deadline-seconds", type=float, default=30, help="RECORD_DEADLINE_SECONDS")
    parser.add_argument("--calm", type=float, default=1, help="lengthens the rests between faults")
    parser.add_argument("--bad", type=int, default=500, help="events among the others that are odd or none")
    parser.add_argument("--only", nargs="*", choices=sorted(KINDS), help="these faults alone")
    parser.add_argument("--jobs", action="store_true", help="in jobs of many tracks, of generation 1")
    parser.add_argument("--keep", type=Path, help="leave logs and brokers' data in this new directory")
    chosen = parser.parse_args()
    options = Options(
        seed=chosen.seed,
        seconds=chosen.minutes * 60,
        generation=1 if chosen.jobs else chosen.generation,
        jobs=chosen.jobs,
        events_per_second=chosen.rate,
        service_seconds=chosen.service_seconds,
        deadline_seconds=chosen.deadline_seconds,
        calm=chosen.calm,
        bad=chosen.bad,
        kinds=(frozenset(chosen.only) if chosen.only is not None else KINDS)
        - (NOT_WITH_JOBS if chosen.jobs else set()),
    )
    return options, chosen.keep


def main() -> int:
    """Run it, print what it showed; 1 if a promise was broken."""
    options, keep = _options()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the tests' own clients meet the same faults
    with tempfile.TemporaryDirectory() as scratch:
        home = keep or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        aftermath = asyncio.run(run(home, options))
        print(figures(aftermath))  # noqa: T201 - the figures are the output; they need the logs below `home`
        broken = broken_promises(aftermath)
    print("\n".join(broken) or "every promise kept")  # noqa: T201 - the verdict
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
