"""Programs that a test starts and, whatever becomes of the test, ends."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@contextmanager
def started(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it with its output in a pipe. Popen alone would wait for ever for one that a failed assertion left."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, cwd=cwd, env=env) as process:
        try:
            yield process
        finally:
            process.kill()
