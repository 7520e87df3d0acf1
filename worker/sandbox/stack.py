"""`track-intake sandbox`: a simulated API and an embedded broker for other teams' tests, until SIGINT or SIGTERM.

Everything listens on free ports of the loopback. The output says where, and what environment a worker needs to work
there; with --json as one line, which comes when everything listens.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from typing import TYPE_CHECKING, Any

import orjson

from worker.sandbox.api import SimulatedApi, SimulationConfig
from worker.sandbox.interruption import Interrupted, until_signalled
from worker.sandbox.surroundings import TOPICS, Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, USAGE = 0, 2  # as cli.Exit documents them


def run(words: Sequence[str]) -> int:
    """Serve until told to stop (or for --seconds); being told is the usual end and no failure."""
    options = _options(words)
    try:
        from worker.sandbox.broker import EmbeddedBroker  # noqa: PLC0415 - needs the extra, whose absence is told here
    except ImportError as missing:
        sys.stderr.write(f"{missing}\n")
        return USAGE
    try:
        with EmbeddedBroker(TOPICS.values()) as broker:
            asyncio.run(until_signalled(_serve(options, broker.address)))
    except Interrupted as interrupted:
        sys.stderr.write(f"{interrupted}: stopped.\n")
    return OK


def _options(words: Sequence[str]) -> argparse.Namespace:
    defaults = SimulationConfig()
    parser = argparse.ArgumentParser(prog="track-intake sandbox", description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="say it as one line of JSON")
    add("--seconds", type=float, help="stop by itself after so long")
    add("--generation", type=int, choices=(1, 2), default=1, help="which API the environment names; both are served")
    add("--time-scale", type=float, default=1.0, help="how many times too fast the API's clock runs")
    add("--service-seconds", type=float, default=defaults.service_seconds, help="simulated length of an analysis")
    add("--rate-limit-per-minute", type=int, default=defaults.rate_limit_per_minute, help="simulated; 0: none")
    add("--seed", type=int, default=defaults.seed, help="another seed, other findings")
    add("--port", type=int, default=0, help="the API's port; 0: any free one")
    options = parser.parse_args(words)
    if options.time_scale <= 0 or options.service_seconds < 0:
        parser.error("expected a time scale above 0 and a service time of at least 0 seconds")
    return options


async def _serve(options: argparse.Namespace, bootstrap_servers: str) -> None:
    api = SimulatedApi(
        SimulationConfig(
            port=options.port,
            seed=options.seed,
            time_scale=options.time_scale,
            service_seconds=options.service_seconds,
            rate_limit_per_minute=options.rate_limit_per_minute,
        )
    )
    address = await api.start()
    try:
        said = _said(options, api, address, bootstrap_servers)
        sys.stdout.write(orjson.dumps(said).decode() + "\n" if options.json else as_text(said))
        sys.stdout.flush()
        await _for(options.seconds)
    finally:
        await api.stop()


async def _for(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.get_running_loop().create_future()
    else:
        await asyncio.sleep(seconds)


def _said(options: argparse.Namespace, api: SimulatedApi, address: str, bootstrap_servers: str) -> dict[str, Any]:
    sandbox = Sandbox(
        api_address=address,
        api_key=api.config.api_key,
        generation=options.generation,
        bootstrap_servers=bootstrap_servers,
        time_scale=options.time_scale,
        rate_limit_per_minute=options.rate_limit_per_minute,
    )
    return {
        "api": {"generation_1": api.base_url(1), "generation_2": api.base_url(2), "steering": f"{address}/_sandbox"},
        "bootstrap_servers": bootstrap_servers,
        "topics": dict(TOPICS),
        "environment": sandbox.settings(),
    }


def as_text(said: dict[str, Any]) -> str:
    """Say it for people; every line that is no `export` is a shell comment, so that the whole can be pasted."""
    steering = said["api"]["steering"]
    lines = [
        f"# Simulated API: {said['api']['generation_1']} (generation 1), {said['api']['generation_2']} (generation 2)",
        f"#   An address with sandbox=NAME in it gets that finding. GET {steering}/ledger shows what was charged,",
        f"#   POST {steering}/faults switches faults, POST {steering}/reset forgets everything.",
        f"# Embedded broker: {said['bootstrap_servers']}, topics {', '.join(said['topics'].values())}",
        "#   It drops transactional offsets, so a worker on it runs at least once.",
        "# A worker here needs:",
        *(f"export {name}={shlex.quote(value)}" for name, value in said["environment"].items()),
        "# Stop it all with Ctrl-C.",
    ]
    return "\n".join(lines) + "\n"
