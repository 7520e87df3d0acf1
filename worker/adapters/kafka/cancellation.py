"""Whose cancellation it is: aiokafka's close() lets that of its own tasks escape, as if the caller were cancelled."""

from __future__ import annotations

import asyncio


def is_ours() -> bool:
    """Whether the task that runs now was asked to end; a CancelledError without that is a library's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
