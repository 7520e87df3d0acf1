"""The only place where things are built and joined: the order of start, and of stop, on one screen."""

from __future__ import annotations

import asyncio
import random
import signal
import ssl
import time
import traceback
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from worker import __version__
from worker.adapters.humanstandard.client import HumanStandard
from worker.adapters.humanstandard.transport import AiohttpTransport
from worker.adapters.kafka import tokens
from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.publisher import IdempotentPublisher, TransactionalPublisher
from worker.adapters.kafka.source import GroupConfig, KafkaSource
from worker.adapters.web import OperatorServer
from worker.app_bulk import bulk_of
from worker.app_policies import decider_of
from worker.app_telemetry import telemetry_of, traces_of
from worker.flow.admission import Admission
from worker.flow.breaker import Breaker, BreakerPolicy
from worker.flow.budget import RetryAllowance, RetryBudget
from worker.flow.concurrency import AdaptiveLimit, LimitPolicy
from worker.flow.course import RetryPolicy
from worker.flow.dead_letters import StopPolicy
from worker.flow.entry import Limits
from worker.flow.pacing import AnalysisTime, Pacer
from worker.flow.service import OutagePolicy, Service
from worker.pipeline.calls import Calls
from worker.pipeline.statuses import WorkerStatus
from worker.pipeline.worker import Worker, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiokafka.abc import AbstractTokenProvider

    from worker.adapters.telemetry import Telemetry
    from worker.domain.decider import Decider
    from worker.pipeline.explanation import Explanation
    from worker.pipeline.facts import Observe
    from worker.pipeline.ports import Publisher, Tracer
    from worker.settings import Settings

USER_AGENT = f"track-intake/{__version__}"  # the CDN refuses calls without a real one
JOB_RESERVE_BYTES = 40  # commit metadata kept free for each job id still to come; a UUID takes 19
REBALANCE_MARGIN_SECONDS = 30.0  # the loop may stand still for a whole rebalance without being stuck
MIN_UNPUBLISHED = 16  # outcomes that may wait for their commit however few calls may be in flight
NOT_BUILT = WorkerStatus("starting", (), 0, 0, None, None, None, "closed", None)
MIN_START = 10  # calls in flight that nobody needs to approach carefully; above that from half of the maximum
FAULT, DRAIN_MISSED = 1, 4  # exit codes, as cli.Exit documents them


def run(settings: Settings) -> int:
    """Decide tracks until SIGTERM or SIGINT; returns the exit code. Raises SettingsError before anything starts."""
    decider = decider_of(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, decider))


async def _run(settings: Settings, decider: Decider) -> int:
    worker: Worker | None = None

    def status() -> WorkerStatus:
        return worker.status() if worker is not None else NOT_BUILT

    def explain(only: int | None) -> Explanation | None:
        return worker.explanation(only) if worker is not None else None

    traces = traces_of(settings)
    telemetry = telemetry_of(settings, status, decider, traces)
    telemetry.take_over_library_logs()
    async with AsyncExitStack() as stack:
        if traces is not None:
            stack.push_async_callback(traces.close)
        server = OperatorServer(
            settings.http_host,
            settings.http_port,
            status=status,
            exposition=telemetry.exposition,
            explain=explain,
            stuck_after_seconds=settings.kafka_rebalance_timeout_seconds + REBALANCE_MARGIN_SECONDS,
        )
        address = await server.start()
        stack.push_async_callback(server.stop)
        telemetry.log.info("listening", address=address, version=__version__)
        analyst = analyst_of(settings)
        stack.push_async_callback(analyst.close)
        source = KafkaSource(connection_of(settings), _group_of(settings))
        stack.push_async_callback(source.stop)
        calls = _calls_of(settings, analyst, decider, telemetry, traces)
        bulk = await bulk_of(
            settings,
            connection_of(settings),
            jobs=analyst.jobs,
            calls=calls,
            source=source,
            telemetry=telemetry,
            stack=stack,
        )
        worker = Worker(
            _config_of(settings),
            source=source,
            new_publisher=_publishers_of(settings, source),
            calls=calls,
            bulk=bulk,
            observe=telemetry,
        )
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, worker.stop, name.name)
        return await _ending(worker, telemetry)


async def _ending(worker: Worker, telemetry: Telemetry) -> int:
    try:
        dropped = await worker.run()
    except Exception as fault:  # noqa: BLE001 - the edge: whatever it was, say so and end with a code that says so
        trace = "".join(traceback.format_exception(fault))
        telemetry.log.error("fault", error=_names(fault), trace=trace)  # noqa: TRY400 - the trace goes through our scrubbing
        return FAULT
    return DRAIN_MISSED if dropped else 0


def _names(fault: BaseException) -> list[str]:
    if isinstance(fault, BaseExceptionGroup):
        return [name for each in fault.exceptions for name in _names(each)]
    return [f"{type(fault).__name__}: {fault}"]


# What each part is built from.


def analyst_of(settings: Settings) -> HumanStandard:
    """The API client over its own transport."""
    tls = ssl.create_default_context(cafile=str(settings.hs_ca_file)) if settings.hs_ca_file else None
    return HumanStandard(
        base_url=str(settings.hs_base_url),
        api_key=settings.hs_api_key.get_secret_value(),
        generation=settings.hs_api_generation,
        transport=AiohttpTransport(tls=tls),
        timeout_seconds=settings.hs_timeout_seconds,
        connect_seconds=settings.hs_connect_timeout_seconds,
        user_agent=USER_AGENT,
        wall_clock=time.time,
    )


def connection_of(settings: Settings) -> Connection:
    """Addresses and security of the brokers."""
    sasl, tls = settings.kafka_sasl_password, settings.kafka_ssl_password
    return Connection(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=settings.kafka_client_id,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
        sasl_username=settings.kafka_sasl_username,
        sasl_password=sasl.get_secret_value() if sasl else None,
        sasl_tokens=_tokens_of(settings),
        ssl_cafile=_text(settings.kafka_ssl_cafile),
        ssl_certfile=_text(settings.kafka_ssl_certfile),
        ssl_keyfile=_text(settings.kafka_ssl_keyfile),
        ssl_password=tls.get_secret_value() if tls else None,
        metadata_max_age_seconds=settings.kafka_metadata_max_age_seconds,
    )


def _tokens_of(settings: Settings) -> AbstractTokenProvider | None:
    if settings.kafka_oauth_token_provider is not None:
        return tokens.provider(settings.kafka_oauth_token_provider)
    return tokens.TokenFile(settings.kafka_oauth_token_file) if settings.kafka_oauth_token_file is not None else None


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _group_of(settings: Settings) -> GroupConfig:
    return GroupConfig(
        topic=settings.topic_submitted,
        group_id=settings.kafka_group_id,
        group_instance_id=settings.kafka_group_instance_id,
        auto_offset_reset=settings.kafka_auto_offset_reset,
        session_timeout_seconds=settings.kafka_session_timeout_seconds,
        rebalance_timeout_seconds=settings.kafka_rebalance_timeout_seconds,
    )


def _publishers_of(settings: Settings, source: KafkaSource) -> Callable[[int], Publisher]:
    connection = connection_of(settings)  # one for all: an operator's token provider may keep what it fetched
    if settings.guarantee == "at_least_once":
        return lambda partition: IdempotentPublisher(
            connection,
            topic=settings.topic_submitted,
            partition=partition,
            timeout_seconds=settings.kafka_transaction_timeout_seconds,
            commit=source.commit,
        )
    return lambda partition: TransactionalPublisher(
        connection,
        group_id=settings.kafka_group_id,
        topic=settings.topic_submitted,
        partition=partition,
        transaction_timeout_seconds=settings.kafka_transaction_timeout_seconds,
    )


def _calls_of(
    settings: Settings, analyst: HumanStandard, decider: Decider, observe: Observe, tracer: Tracer | None
) -> Calls:
    return Calls(
        analyst=analyst,
        decider=decider,
        retry=RetryPolicy(
            max_attempts=settings.max_attempts,
            base_seconds=settings.retry_base_seconds,
            max_seconds=settings.retry_max_seconds,
            unknown_repeats=settings.unknown_outcome_repeats,
            deadline_seconds=settings.record_deadline_seconds,
            poll_interval_seconds=settings.hs_poll_interval_seconds,
        ),
        pacer=Pacer(settings.rate_limit_per_minute),
        service=_service_of(settings),
        budget=RetryBudget(RetryAllowance(share=settings.retry_budget_share), asyncio.get_running_loop().time()),
        analysis_time=AnalysisTime(settings.hs_first_poll_seconds),
        max_unpublished=max(MIN_UNPUBLISHED, settings.max_concurrency),
        standstill_seconds=settings.kafka_session_timeout_seconds / 2,  # longer: the partitions may have moved
        observe=observe,
        wall=partial(datetime.now, UTC),
        chance=random.random,
        tracer=tracer,
    )


def _service_of(settings: Settings) -> Service:
    most, probe = settings.max_concurrency, settings.hold_probe_seconds
    return Service(
        Admission(probe),
        Breaker(BreakerPolicy(concurrency=most, probe_seconds=probe / 6, probe_max_seconds=2 * probe)),
        AdaptiveLimit(LimitPolicy(most, enabled=settings.adaptive_concurrency, start=max(MIN_START, most // 2))),
        OutagePolicy(settings.outage_policy),
    )


def _config_of(settings: Settings) -> WorkerConfig:
    generation_with_jobs = 2
    has_jobs = settings.hs_api_generation == generation_with_jobs
    return WorkerConfig(
        topic=settings.topic_submitted,
        limits=Limits(job_reserve_bytes=JOB_RESERVE_BYTES if has_jobs else 0),
        stop_policy=StopPolicy(settings.dead_letter_stop_share, consecutive=settings.dead_letter_stop_consecutive),
        commit_interval_seconds=settings.commit_interval_seconds,
        drain_seconds=settings.drain_seconds,
        rebalance_drain_seconds=settings.rebalance_drain_seconds,
        max_buffered_records=settings.max_buffered_records,
        max_buffered_bytes=settings.max_buffered_bytes,
    )
