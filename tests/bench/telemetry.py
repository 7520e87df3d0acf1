"""What telemetry costs: CPU µs of metrics, log lines and spans for one decided track, and of one scrape.

The facts are those of a track that needs one call (`--calls` for more), in transactions of a dozen; they go to the real
Telemetry and Traces. Log lines are written to /dev/null. Spans are encoded as OTLP by the
SDK's own thread, whose CPU time counts, too, and are not sent. Each figure is the middle of several runs that take
turns, with their range.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from prometheus_client import disable_created_metrics

from tests.adapters.sample_facts import DECIDED, INFOS, LANE, STATUS
from worker.adapters.telemetry import Telemetry
from worker.adapters.telemetry.traces import Traces
from worker.domain.record import Record
from worker.pipeline import facts as f

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from worker.domain.trace import TraceContext

PARTITIONS = 16
IN_A_TRANSACTION = 12
ACCEPT = "application/openmetrics-text; version=1.0.0"


class Encoding(SpanExporter):
    """Does what the OTLP exporter does, except for sending."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode them."""
        self.size_bytes += len(encode_spans(spans).SerializeToString())
        return SpanExportResult.SUCCESS


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run: where lines go to, and whether spans are made."""

    name: str
    log_level: str
    sampler: object | None = None


VARIANTS = (
    Variant("metrics", "error"),
    Variant("metrics, log lines", "info"),
    Variant("metrics, log lines, spans of tracks that nobody keeps", "info", ALWAYS_OFF),
    Variant("metrics, log lines, spans", "info", ALWAYS_ON),
)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--calls", type=int, default=1, help="requests to the API for one track")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--whole-us", type=float, default=720, help="CPU of the whole worker, as throughput measured it"
    )
    return parser.parse_args(arguments)


class Stage:
    """One telemetry, and the facts that it is told."""

    def __init__(self, variant: Variant, calls: int) -> None:
        self._calls = calls
        self.provider = TracerProvider(sampler=variant.sampler, shutdown_on_exit=False)  # type: ignore[arg-type] # a sampler
        self.provider.add_span_processor(BatchSpanProcessor(Encoding(), max_queue_size=1 << 20))
        self.traces = Traces(self.provider, "group") if variant.sampler is not None else None
        status = replace(STATUS, lanes=tuple(replace(LANE, partition=number) for number in range(PARTITIONS)))
        self._null = Path("/dev/null").open("wb")  # noqa: SIM115 - as long as the stage
        self.told = Telemetry(lambda: status, INFOS, variant.log_level, "json", self._null, traces=self.traces)

    def run(self, first: int, events: int) -> float:
        """CPU µs an event."""
        began = time.process_time_ns()
        for offset in range(first, first + events, IN_A_TRANSACTION):
            self._transaction(offset)
        self.provider.force_flush()
        return (time.process_time_ns() - began) / events / 1000

    def _transaction(self, first: int) -> None:
        told = self.told
        told(f.RecordsReceived(3, IN_A_TRANSACTION, 3000))
        traces: list[TraceContext | None] = []
        for offset in range(first, first + IN_A_TRANSACTION):
            record = Record("track-submitted", 3, offset, 0, None, None, ())
            trace = self.traces.track(record, 45.0, None) if self.traces is not None else None
            for _ in range(self._calls):
                told(f.CallFinished("submit", "finished", 45.0, 3, offset, trace))
            told(replace(DECIDED, offset=offset, trace=trace))
            traces.append(trace)
        told(f.CommitFinished(3, "committed", IN_A_TRANSACTION, 0.03))
        told(f.TracksCommitted(3, (0,) * IN_A_TRANSACTION, tuple(traces), 0.03))

    def scrape(self) -> tuple[float, int]:
        """CPU ms, and bytes."""
        began = time.process_time_ns()
        body, _ = self.told.exposition(ACCEPT)
        return (time.process_time_ns() - began) / 1e6, len(body)

    def close(self) -> None:
        self.provider.shutdown()
        self._null.close()


def rows(chosen: argparse.Namespace) -> Iterator[str]:
    stages = [Stage(variant, chosen.calls) for variant in VARIANTS]
    found: list[list[float]] = [[] for _ in stages]
    for turn in range(chosen.repeats + 1):
        for stage, figures in zip(stages, found, strict=True):
            gc.collect()
            figures.append(stage.run(turn * chosen.events, chosen.events))
    for variant, figures in zip(VARIANTS, found, strict=True):
        warm = figures[1:]
        middle = statistics.median(warm)
        share = f"{middle / chosen.whole_us:5.1%} of {chosen.whole_us:g}"
        yield f"{variant.name:56} {middle:6.1f} µs an event ({min(warm):.1f}-{max(warm):.1f}), {share}"
    scrapes = [stages[1].scrape() for _ in range(chosen.repeats)]
    middle = statistics.median(milliseconds for milliseconds, _ in scrapes)
    yield f"one scrape of {PARTITIONS} partitions: {middle:.1f} ms, {scrapes[0][1] / 1024:.0f} KiB"
    for stage in stages:
        stage.close()


if __name__ == "__main__":
    disable_created_metrics()  # type: ignore[no-untyped-call] # as the worker does
    for row in rows(options()):
        print(row)  # noqa: T201 - the figures are the output
