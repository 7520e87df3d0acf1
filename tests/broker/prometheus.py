"""A real Prometheus with our alert rules, an hour of them in a minute, and what it has seen."""

from __future__ import annotations

import asyncio
import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import yaml

from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.processes import ChildProcess
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

RULES = Path(__file__).parents[2] / "deploy" / "alerts" / "track-intake.yaml"
FASTER = 60  # times: windows, waits and thresholds in seconds are so much shorter
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
JOB = "track-intake"
STEP_SECONDS = 2


class Prometheus:
    """Scrapes once a second whoever `scrape` names. `since` is when it began, Unix seconds."""

    def __init__(self, home: Path) -> None:
        self._home = home
        (home / "rules.yaml").write_text(hurried(RULES.read_text()))
        self._targets = home / "targets.json"
        self.scrape({})
        (home / "prometheus.yaml").write_text(yaml.safe_dump(self._config()))
        [self._port] = free_ports(1)
        self.since = time.time()
        self.process = ChildProcess(
            [
                "prometheus",
                f"--config.file={home / 'prometheus.yaml'}",
                f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self._port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            home / "prometheus.log",
        )

    def _config(self) -> dict[str, Any]:
        found = {"files": [str(self._targets)], "refresh_interval": "1s"}
        return {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self._home / "rules.yaml")],
            "scrape_configs": [{"job_name": JOB, "file_sd_configs": [found]}],
        }

    async def __aenter__(self) -> Self:
        async def answers() -> bool:
            assert self.process.alive, self.process.tail()
            try:
                async with httpx.AsyncClient() as client:
                    return (await client.get(self._address("/-/ready"))).is_success
            except httpx.TransportError:
                return False

        await wait_until("Prometheus is ready", answers, 30)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()

    def _address(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self._port}{path}"

    def scrape(self, ports: Mapping[str, int]) -> None:
        """Scrape these from now on: the instance's name, which outlives its process, and its port."""
        groups = [
            {"targets": [f"{LOOPBACK}:{port}"], "labels": {"instance": instance}} for instance, port in ports.items()
        ]
        written = self._targets.with_suffix(".new")
        written.write_bytes(orjson.dumps(groups))
        written.rename(self._targets)

    async def series(self, expr: str) -> list[dict[str, Any]]:
        """What the expression gives over all of the run, series by series; only what is a number."""
        given: dict[str, str | float] = {"query": expr, "start": self.since, "end": time.time(), "step": STEP_SECONDS}
        found = await self._asked("/api/v1/query_range", given)
        for each in found["result"]:
            each["values"] = [(at, float(text)) for at, text in each["values"] if math.isfinite(float(text))]
        return [each for each in found["result"] if each["values"]]

    async def exemplars(self, metric: str) -> set[str]:
        """Trace ids that came with a metric, over all of the run."""
        given: dict[str, str | float] = {"query": metric, "start": self.since, "end": time.time()}
        found = await self._asked("/api/v1/query_exemplars", given)
        return {exemplar["labels"]["trace_id"] for each in found for exemplar in each["exemplars"]}

    async def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        found = await self._asked("/api/v1/query", {"query": 'ALERTS{alertstate="firing"}'})
        return {each["metric"]["alertname"] for each in found["result"]}

    async def fired(self, since: float) -> set[str]:
        """Names of all that have fired since then."""
        seconds = int(time.time() - since)
        expr = f'count_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])'  # each second, also of one that blinks
        found = await self._asked("/api/v1/query", {"query": expr})
        return {each["metric"]["alertname"] for each in found["result"]}

    async def sees(self, workers: int, seconds: float = 60) -> None:
        """Wait until it has scraped so many workers, and what had fired for want of them is over for good."""

        async def does() -> bool:
            found = await self._asked("/api/v1/query", {"query": "count(track_intake_build_info)"})
            return [each["value"][1] for each in found["result"]] == [str(workers)] and not await self.firing()

        await wait_until(f"{workers} workers are scraped", does, seconds, STEP_SECONDS)
        await asyncio.sleep(STEP_SECONDS)

    async def fires(self, name: str, seconds: float = 60) -> None:
        """Wait until this alert fires."""

        async def is_there() -> bool:
            return name in await self.firing()

        await wait_until(f"{name} fires", is_there, seconds, 0.5)

    async def troubles(self) -> list[str]:
        """Rules that could not be evaluated, and workers that could not be scraped."""
        rules = await self._asked("/api/v1/rules", {})
        ill = [rule["name"] for group in rules["groups"] for rule in group["rules"] if rule["health"] != "ok"]
        targets = await self._asked("/api/v1/targets", {})
        return ill + [each["lastError"] for each in targets["activeTargets"] if each["lastError"]]

    async def _asked(self, path: str, given: Mapping[str, str | float]) -> Any:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = orjson.loads((await client.get(self._address(path), params=dict(given))).content)
        assert answer["status"] == "success", answer
        return answer["data"]


def hurried(rules: str) -> str:
    """The rules with all of their times divided, so that an hour of theirs passes in a minute."""
    rules = re.sub(r"(?<=\[)(\d+[smhd])(?=\])|(?<=for: )(\d+[smhd])|(?<=offset )(\d+[smhd])", _shorter, rules)
    rules = re.sub(r'le="([\d.]+)"', lambda found: f'le="{float(found[1]) / FASTER}"', rules)
    return re.sub(r"(_seconds > )(\d+)", lambda found: f"{found[1]}{int(found[2]) // FASTER}", rules)


def _shorter(found: re.Match[str]) -> str:
    text = found[0]
    return f"{int(text[:-1]) * SECONDS[text[-1]] * 1000 // FASTER}ms"
