"""Become another program that dies with the process that started it: `leash.py PARENT_PID PROGRAM ARGUMENT…`.

Run as a program of its own because the request to be killed must be made after the fork and survives the exec;
`preexec_fn` would run Python between the fork and the exec of a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request stood
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
