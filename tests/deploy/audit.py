"""`python -m tests.deploy.audit` (make audit): known vulnerabilities of what is in the image.

pip-audit asks the registry, and passes over what that does not know. So nothing found may mean that nothing was looked
at: that is told apart here. What was looked at and is vulnerable fails; what could not be looked at is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.txt"


def judged(report: dict[str, Any]) -> tuple[bool, str]:
    """Whether all is well, as far as could be seen, and what to say of it."""
    packages = report["dependencies"]
    looked_at = [each for each in packages if "skip_reason" not in each]
    ill = [f"{each['name']} {each['version']}: {_named(each)}" for each in looked_at if each["vulns"]]
    if ill:
        return False, "vulnerable:\n" + "\n".join(ill)
    if not looked_at:
        return True, f"NOT AUDITED: the registry here gives no advisories, of none of {len(packages)} packages"
    rest = f", {len(packages) - len(looked_at)} could not be looked at" if len(looked_at) < len(packages) else ""
    return True, f"{len(looked_at)} of {len(packages)} packages audited, none is known to be vulnerable{rest}"


def _named(package: dict[str, Any]) -> str:
    return ", ".join(f"{each['id']} (fixed in {'/'.join(each['fix_versions']) or '-'})" for each in package["vulns"])


def run() -> int:
    words = (
        "--disable-pip",
        "--require-hashes",
        "-r",
        LOCK,
        "-f",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "10",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, check=False, timeout=300
    )
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.stdout.write(f"NOT AUDITED: {last}\n")
        return 0
    well, told = judged(json.loads(done.stdout))
    sys.stdout.write(told + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(run())
