"""`python -m worker.sandbox.api`: serves until SIGTERM or SIGINT; its first line is a JSON object of addresses."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress

import orjson

from worker.sandbox.api.config import SimulationConfig
from worker.sandbox.api.server import SimulatedApi

with suppress(ImportError):  # not on every platform; asyncio's own loop works as well
    import uvloop

_VALUES = {
    "seed": int,
    "time_scale": float,
    "service_seconds": float,
    "jitter": float,
    "cold_start_seconds": float,
    "queued_share": float,
    "rate_limit_per_minute": int,
    "slow_body_seconds": float,
    "bulk_parallelism": int,
    "results_late_seconds": float,
    "webhook_secret": str,
    "webhook_connections": int,
    "webhook_attempts": int,
    "webhook_delay_seconds": float,
}


def _config(arguments: list[str]) -> SimulationConfig:
    defaults = SimulationConfig()
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox.api", description=__doc__)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port, help="0: any free one")
    parser.add_argument("--api-key", default=defaults.api_key)
    for switch in ("retry_after", "results_early", "results_submitted_order"):
        flag, default = f"--{switch.replace('_', '-')}", getattr(defaults, switch)
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
    for name, kind in _VALUES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(defaults, name))
    return SimulationConfig(**vars(parser.parse_args(arguments)))


async def _serve(config: SimulationConfig) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    api = SimulatedApi(config)
    address = await api.start()
    line = {"address": address, "generation_1": api.base_url(1), "generation_2": api.base_url(2)}
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await api.stop()


def main() -> None:
    """Serve with the settings of the command line."""
    config = _config(sys.argv[1:])
    loop_factory = uvloop.new_event_loop if "uvloop" in globals() else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(config))


if __name__ == "__main__":
    main()
