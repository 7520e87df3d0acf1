"""`python -m tests.deploy.wheel` (make wheel): the fast part of the tests, against the built wheel.

The tests run beside no worker/ of the tree: what the wheel lacks, they lack. Fast are those of the domain, the
adapters, the sandbox (its demo decides tracks from end to end) and the commands, with few examples of each property.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parents[2]
EXAMPLES = 5
LEFT_OUT = (
    *("test_layers.py", "test_style.py", "test_readme.py", "test_suite.py", "deploy"),  # about the tree
    *("broker", "chaos", "contract", "bench"),  # need a broker
    *("flow", "pipeline", "domain/test_policy_table.py", "adapters/test_humanstandard_outcomes.py"),  # take minutes
)


def pytest_configure() -> None:
    """Try few examples, as a plugin of that run; a test's own number of them stays."""
    settings.register_profile("few", deadline=None, max_examples=EXAMPLES)
    settings.load_profile("few")


def built(place: Path) -> Path:
    """Build the wheel as the Dockerfile does and unpack it; returns the folder that has it."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, ROOT], check=True)
    [wheel] = place.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", place / "site", wheel], check=True)
    return place / "site"


def tree(place: Path) -> Path:
    """What the tests read, without the sources."""
    place.mkdir()
    for each in sorted(ROOT.iterdir()):
        if each.is_file():
            shutil.copy(each, place)
    for room in ("tests", "schemas"):
        shutil.copytree(ROOT / room, place / room, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def run(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        site, here = built(Path(folder)), tree(Path(folder) / "tree")
        environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        asked = [sys.executable, "-c", "import worker; print(worker.__file__)"]
        found = subprocess.run(asked, cwd=here, env=environment, check=True, capture_output=True, text=True).stdout
        if not found.startswith(str(site)):
            sys.stderr.write(f"the tests would run against {found}")
            return 1
        ignored = [f"--ignore=tests/{each}" for each in LEFT_OUT]
        plugins = ("-p", "tests.deploy.wheel", "-p", "no:cacheprovider")
        suite = [sys.executable, "-m", "pytest", *plugins, "-m", "not broker", "-q", *ignored, *words]
        return subprocess.run(suite, cwd=here, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
