"""Every test, in two processes at once: those on a broker, which mostly wait, beside all others, which compute.

Not pytest-xdist: it would start a broker in each of its processes, and its groups have no effect with pytest 9.2.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import IO

PYTEST = (sys.executable, "-m", "pytest", *sys.argv[1:])


def main() -> int:
    """Show the others while they run, then those on a broker; the worse of both exit codes."""
    with tempfile.TemporaryFile() as output:
        on_broker = _start("broker", output)
        try:
            others = subprocess.run((*PYTEST, "-m", "not broker"), check=False).returncode
            code = on_broker.wait()
        finally:
            on_broker.kill()
        output.seek(0)
        sys.stdout.buffer.write(output.read())
    return max(others, code)


def _start(mark: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen((*PYTEST, "-m", mark), stdout=output, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    sys.exit(main())
