"""compose.yaml: of the schema, and at one with the image, the settings and the files that it mounts."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.deploy.chart import DEPLOY
from tests.deploy.image import one
from worker.operations import topics
from worker.sandbox.api.config import SimulationConfig
from worker.settings import Settings, load

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = DEPLOY / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_it_is_of_the_schema_of_compose_files() -> None:
    done = checked(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_sees_a_breach(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("stop_grace_period", "grace_period"))
    done = checked(broken)
    assert done.returncode == 1
    assert "grace_period" in done.stdout


def test_it_has_everything_and_each_waits_for_what_is_there() -> None:
    assert set(SERVICES) == {"kafka", "topics", "api", "worker", "tracks", "prometheus", "grafana"}
    assert {name for each in SERVICES.values() for name in each.get("depends_on", ())} <= SERVICES.keys()


@pytest.mark.parametrize("name", ["worker", "topics"])
def test_our_services_load_their_settings(name: str) -> None:
    assert {key.lower() for key in SERVICES[name]["environment"]} <= set(Settings.model_fields)
    assert loaded(name).kafka_bootstrap_servers == "kafka:9092"


def loaded(name: str) -> Settings:
    given = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    return load(given, env_file=None, unneeded=["hs_api_key"] if name == "topics" else ()).settings


def test_the_worker_and_the_simulated_api_agree() -> None:
    """On the key, the port, the clock and the quota: half of what the API gives, as `sandbox` has it."""
    words, given = simulated(), SERVICES["worker"]["environment"]
    assert given["HS_BASE_URL"] == f"http://api:{words['--port']}/api/v1"
    assert given["HS_API_KEY"] == words["--api-key"]
    scale = float(words["--time-scale"])
    for name in ("RETRY_BASE_SECONDS", "RETRY_MAX_SECONDS", *(name for name in given if name.startswith("BULK_"))):
        assert given[name] * scale == Settings.model_fields[name.lower()].default, name
    assert given["RATE_LIMIT_PER_MINUTE"] == Settings.model_fields["rate_limit_per_minute"].default * scale / 2


def simulated() -> dict[str, str]:
    """The words of the simulated API's command, each of which it understands."""
    words = dict(each.split("=") for each in SERVICES["api"]["command"])
    assert {name.removeprefix("--").replace("-", "_") for name in words} <= set(SimulationConfig.__dataclass_fields__)
    return words


def test_there_is_work_for_jobs_and_their_webhooks_arrive() -> None:
    """The address is the worker's own, signed with the secret that the API has, on a topic that is made."""
    given = SERVICES["worker"]["environment"]
    address = urlsplit(given["WEBHOOK_URL"])
    assert (address.hostname, address.port) == ("worker", Settings.model_fields["webhook_port"].default)
    assert address.path == "/webhooks/humanstandard"
    assert given["WEBHOOK_SECRET"] == simulated()["--webhook-secret"]
    assert given["HS_API_GENERATION"] == 1
    said = io.StringIO()
    topics(loaded("topics"), said, create=False, replay=True)
    assert Settings.model_fields["topic_webhook"].default in said.getvalue()
    waiting = int(re.findall(r"\{1\.\.(\d+)\}", SERVICES["tracks"]["command"][0])[0])
    assert 60 * waiting / given["RATE_LIMIT_PER_MINUTE"] > 10 * given["BULK_ABOVE_SECONDS"]


def test_it_is_not_killed_while_it_drains() -> None:
    drain = Settings.model_fields["drain_seconds"].default
    assert float(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > drain
    assert one("STOPSIGNAL") == "SIGTERM"


def test_what_is_mounted_is_there_or_comes_from_the_chart() -> None:
    sources = [each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", [])]
    made = {"./helm/track-intake/files/alerts", "./dashboards"}  # where there are rules and dashboards
    assert [each for each in sources if each not in made and not (DEPLOY / each).exists()] == []
    assert made <= set(sources)


def test_nothing_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_asks_where_the_worker_listens() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    [found] = job["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert found["port"] == Settings.model_fields["http_port"].default
    [rules] = config["rule_files"]
    mounts = dict(each.removesuffix(":ro").split(":") for each in SERVICES["prometheus"]["volumes"])
    assert rules.rpartition("/")[0] in mounts.values()


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "track-intake.yaml").read_text())["providers"]
    mounts = dict(each.removesuffix(":ro").split(":") for each in SERVICES["grafana"]["volumes"])
    assert mounts["./dashboards"] == provider["options"]["path"]
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_the_sample_tracks_are_events() -> None:
    """The producer's own loop, run by a shell with another command at its end."""
    [line] = SERVICES["tracks"]["command"]
    loop = line.replace("$$", "$").partition(" | /opt/kafka/bin/")[0]
    loop = re.sub(r"\{1\.\.\d+\}", "{1..2}", loop).replace("sleep 1", "[ $n -lt 4 ]")
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-c", loop], capture_output=True, text=True, check=True, timeout=10)
    events = [json.loads(each) for each in done.stdout.splitlines()]
    assert [each["item_id"] for each in events] == [f"track-{number}" for number in range(1, 5)]
    assert all(each["url"].startswith("https://") for each in events)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing (Debian: prometheus)")
def test_prometheus_takes_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
