"""How tasks of one group end: by whom, and by what."""

from __future__ import annotations

import asyncio


def is_asked_to_end() -> bool:
    """Whether somebody cancelled the task that runs now; a CancelledError without that is a library's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end_with(fault: Exception) -> None:
    """As a task: end its group with a fault that was met outside of any."""
    raise fault
