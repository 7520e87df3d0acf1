"""An OpenTelemetry collector on loopback: takes OTLP over HTTP, keeps every span, and can be slow for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.broker.ports import LOOPBACK

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True)
class Kept:
    """One span as it came; ids in hex, "" for no parent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: dict[str, str]
    service: str


class Collector:
    """Use it as a context. `deaf`: takes requests and answers none."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.spans: list[Kept] = []
        self.requests = 0
        self._deaf = deaf
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.address = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What a worker needs to send its spans here, soon after they end."""
        return {
            "TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.address,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    async def _take(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self._deaf:
            await asyncio.Event().wait()
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            described = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans.extend(_kept(span, described["service.name"]) for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")


def _kept(span: Span, service: str) -> Kept:
    attributes = {each.key: each.value.string_value or str(each.value.int_value) for each in span.attributes}
    links = tuple(link.span_id.hex() for link in span.links)
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Kept(span.name, *ids, links, attributes, service)
