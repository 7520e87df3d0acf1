"""The image: the rules for Dockerfiles, and its own steps carried out in an empty place, since no engine runs here."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deploy.image import ROOT, instructions, let_in, one, script, sources
from worker import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A folder in which the build stage has run: with the locked, hashed requirements and nothing of this venv."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("src", "opt", "bin"):
            (place / name).mkdir()
        (place / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
        steps = subprocess.run(
            ["/bin/sh", "-c", script(place)],
            env=surroundings(place / "bin"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert steps.returncode == 0, steps.stdout + steps.stderr
        yield place


def surroundings(path: Path) -> dict[str, str]:
    """No variable of ours; the machine's own pip settings are its way to a registry."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTPS_")) or name == "HOME"}
    return {**kept, "PATH": f"{path}:/usr/bin:/bin"}


def said(image: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the image's program as its entry point names it, in its working directory."""
    [entry] = json.loads(one("ENTRYPOINT"))
    home = image / "opt" / "track-intake"
    return subprocess.run(
        [home / "bin" / entry, *words],
        cwd=home,
        env=surroundings(home / "bin") | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_dockerfile_keeps_the_rules() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_rules_see_a_breach(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && pip install httpx\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", tmp_path / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert {"DL3006", "DL3003", "DL3013"} <= set(done.stdout.replace(":", " ").split())


def test_what_is_copied_is_let_in_and_there() -> None:
    assert set(sources()) <= set(let_in())
    assert [name for name in let_in() if not (ROOT / name).exists()] == []


def test_it_runs_as_nobody_and_pip_checks_every_hash() -> None:
    assert one("USER") == "10001:10001"
    installs = [part for each in instructions((ROOT / "Dockerfile").read_text()) for part in each.rest.split("&&")]
    unhashed = [part for part in installs if "pip install" in part and "--require-hashes" not in part]
    assert [part.split("install")[1].split() for part in unhashed] == [["--no-deps", "--no-index", "/dist/*.whl"]]


@pytest.mark.timeout(400)  # it installs from a registry
def test_its_steps_install_the_worker(image: Path) -> None:
    assert said(image, "--version").stdout.split()[-1] == __version__
    shown = said(image, "settings", HS_API_KEY="key", KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    assert shown.returncode == 0, shown.stderr
    assert "kafka:9092" in shown.stdout
    # A file of the package's that is no module.
    assert "human_safe" in said(image, "policy", "show", "two-tier").stdout


@pytest.mark.timeout(400)
def test_it_has_what_is_locked_and_no_more(image: Path) -> None:
    python = image / "opt" / "track-intake" / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    found = {each["name"].lower().replace("_", "-") for each in json.loads(listed.stdout)}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    locked = {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}
    assert found - {"pip", "setuptools", "wheel", "track-intake"} <= locked
    assert {"aiokafka", "httpx", "track-intake"} <= found


@pytest.mark.timeout(400)
def test_it_has_what_the_simulated_api_of_compose_needs(image: Path) -> None:
    python = image / "opt" / "track-intake" / "bin" / "python"
    subprocess.run([python, "-m", "worker.sandbox.api", "--help"], capture_output=True, check=True, timeout=60)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_its_health_check_asks_livez(status: int, code: int) -> None:
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Be silent."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        [_, command, program] = json.loads(one("HEALTHCHECK").partition("CMD ")[2])[0:3]
        done = subprocess.run(
            [sys.executable, command, program],
            env={"HTTP_PORT": str(server.server_port)},
            capture_output=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode, asked) == (code, ["/livez"])
