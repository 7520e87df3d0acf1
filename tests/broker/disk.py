"""A disk that is full when the test says so: a file system of its own, bounded in size, mounted where the data goes."""

from __future__ import annotations

import errno
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOUNT_SECONDS = 10
PIECE_BYTES = 65_536
NEEDED = "a full disk needs a file system of its own, so a user who may mount one (root, with CAP_SYS_ADMIN)"


class NoDiskError(Exception):
    """No file system can be mounted here; the message says what is needed."""


class SmallDisk:
    """A tmpfs of so many bytes; `mount` and `unmount` are harmless when done already.

    A test process that is killed by -9 leaves it mounted, with whatever it holds.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._size_bytes = size_bytes

    def mount(self) -> None:
        """NoDiskError where that is not allowed."""
        if self.path.is_mount():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._size_bytes}", "tmpfs", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MOUNT_SECONDS)
        if done.returncode:
            raise NoDiskError(f"{NEEDED}: {done.stderr.strip()}")

    def unmount(self) -> None:
        if self.path.is_mount():
            subprocess.run(["umount", str(self.path)], check=True, capture_output=True, timeout=MOUNT_SECONDS)

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.path).free

    def fill(self) -> None:
        """Take the last byte; whoever writes now gets ENOSPC."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while ballast.write(bytes(PIECE_BYTES)):
                    pass
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give back what `fill` took."""
        (self.path / "ballast").unlink(missing_ok=True)
