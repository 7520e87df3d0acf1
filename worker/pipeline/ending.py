"""How tasks of one group end: by whom, and by what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def is_asked_to_end() -> bool:
    """Whether somebody cancelled the task that runs now; a CancelledError without that is a library's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Group:
    """The tasks of a worker, as far as they may still be joined; `with` it, a fault ends them all.

    Who is called by a timer, or when a task is done, is called by the event loop, which only logs what is raised: the
    record that was being started would stay so for ever.
    """

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: asyncio.TaskGroup | None = None

    def __enter__(self) -> None:
        """Begin something whose faults are ours."""

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the group with the fault, if there is one; it goes on its way all the same."""
        if fault is not None and self.tasks is not None:
            tasks, self.tasks = self.tasks, None
            tasks.create_task(_end_with(fault))


async def _end_with(fault: BaseException) -> None:
    raise fault
