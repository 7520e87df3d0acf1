"""Apache Kafka as it comes from Maven: fetched once, kept below the repository."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.broker.processes import REPOSITORY

POM = Path(__file__).with_name("pom.xml")
CACHE = REPOSITORY / ".kafka"
INSTALL = "the tests on a real Kafka need Java 17 and Maven (Debian: apt-get install openjdk-17-jre-headless maven)"
DOWNLOAD_SECONDS = 300


class MissingToolError(Exception):
    """Something that the tests need cannot be had; the message says what, and how to get it."""


def kafka_classpath() -> str:
    """The class path of the broker that pom.xml names; downloads it on first use."""
    java_path()
    libs = CACHE / f"libs-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not libs.exists():
            _download(libs)
    return f"{libs}/*"


def java_path() -> str:
    return _tool("java")


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(f"no `{name}` on PATH: {INSTALL}")
    return path


def _download(libs: Path) -> None:
    partial = libs.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [_tool("mvn"), "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_SECONDS)
    if done.returncode:
        raise MissingToolError(f"Maven could not fetch Apache Kafka:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    partial.rename(libs)  # only a whole download gets the name
