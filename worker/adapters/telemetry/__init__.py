"""Everything observable leaves the worker here: facts come in; metrics, log lines and spans go out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.adapters.telemetry.logs import FactLog, LibraryMessages, build_logger
from worker.adapters.telemetry.metrics import Infos, Metrics

__all__ = ["Infos", "Telemetry"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from worker.pipeline.facts import Fact, Observe
    from worker.pipeline.statuses import WorkerStatus


class Telemetry:
    """Takes every fact. `log` is for the few lines that are no fact of the pipeline, such as the bound address.

    `traces` draws spans, where that is wanted.
    """

    def __init__(
        self,
        status: Callable[[], WorkerStatus],
        infos: Infos,
        log_level: str = "info",
        log_format: str = "json",
        stream: BinaryIO | None = None,
        *,
        traces: Observe | None = None,
    ) -> None:
        self.log = build_logger(log_level, log_format, stream)
        self.metrics = Metrics(status, infos)
        self._write = FactLog(self.log, log_level)
        self._draw = traces

    def __call__(self, fact: Fact) -> None:
        """Count the fact, write its line, draw its span."""
        self.metrics(fact)
        self._write(fact)
        if self._draw is not None:
            self._draw(fact)

    def take_over_library_logs(self) -> None:
        """Route what libraries log through the same lines, from warning upwards. Process-wide: app.py calls it."""
        LibraryMessages(self.log).install()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """/metrics: body and content type for a scraper's Accept header."""
        return self.metrics.exposition(accept)
