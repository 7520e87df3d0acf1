"""The suite itself: one broker for all tests of a session, and a missing tool is a failure, not a skip."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

TESTS = Path(__file__).parent
CONTRACT = "tests/contract/test_source_and_publisher.py::test_a_seek_back_delivers_again[kafka]"


def clusters_of(path: Path) -> int:
    """How often a file defines or imports the broker's fixture; pytest takes an imported one for one more."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    made = sum(isinstance(node, ast.FunctionDef) and node.name == "cluster" for node in nodes)
    return made + sum(
        alias.name == "cluster" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    )


def test_the_suites_share_one_broker() -> None:
    paths = [TESTS / "conftest.py", *(TESTS / "broker").rglob("*.py"), *(TESTS / "contract").rglob("*.py")]
    assert {path.relative_to(TESTS): count for path in paths if (count := clusters_of(path))} == {
        Path("conftest.py"): 1,
        Path("broker/test_security.py"): 1,  # the secured one, for scenes on it
    }


def test_the_last_resort_against_a_hang_comes_after_every_tests_own_limit(
    request: pytest.FixtureRequest,
) -> None:
    marked = re.compile(r"@pytest\.mark\.timeout\((\d+)\)")
    limits = [int(seconds) for path in TESTS.rglob("*.py") for seconds in marked.findall(path.read_text())]
    limits.append(int(request.config.getini("timeout")))
    assert len(limits) > 1
    assert max(limits) + 60 <= request.config.getini("faulthandler_timeout")


def test_without_java_a_broker_test_fails_and_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", CONTRACT],
        cwd=TESTS.parent,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1, done.stdout
    assert "no `java` on PATH" in done.stdout
    assert "openjdk-17-jre-headless" in done.stdout
    assert "skipped" not in done.stdout
