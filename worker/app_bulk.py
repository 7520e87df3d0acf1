"""Jobs of many tracks and the webhooks that tell of them: built from the settings, and run beside the worker."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from worker.adapters.kafka.notices import NoticeConsumer, NoticeProducer
from worker.adapters.webhook_receiver import WebhookReceiver
from worker.flow.bulk_job import JobPolicy
from worker.flow.job_book import BookPolicy
from worker.flow.mode import JobTime, ModePolicy, ModeSetting
from worker.pipeline.bulk import Bulk
from worker.pipeline.job_driver import Means

MAX_POLL_SECONDS = 600.0  # between two questions for a job whose pace is not known
FIRST_POLLS = 6  # least waits until the first question, before any job has been seen

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from worker.adapters.humanstandard.jobs import HumanStandardJobs
    from worker.adapters.kafka.connection import Connection
    from worker.adapters.kafka.source import KafkaSource
    from worker.adapters.telemetry import Telemetry
    from worker.pipeline.calls import Calls
    from worker.settings import Settings


async def bulk_of(
    settings: Settings,
    connection: Connection,
    *,
    jobs: HumanStandardJobs | None,
    calls: Calls,
    source: KafkaSource,
    telemetry: Telemetry,
    stack: AsyncExitStack,
) -> Bulk | None:
    """Jobs of many tracks; None where the API has none. With MODE=direct those that are open are worked off."""
    if jobs is None:
        return None
    means = Means(
        analyst=jobs,
        gate=calls.gate,
        service=calls.service,
        hearing=calls.hearing,
        outcomes=calls.outcomes,
        job_time=JobTime(FIRST_POLLS * settings.bulk_poll_seconds),
        observe=telemetry,
        chance=random.random,
    )
    return Bulk(
        means,
        calls,
        source,
        group=settings.kafka_group_id,
        topic=settings.topic_submitted,
        book=_book_of(settings),
        mode=ModePolicy(ModeSetting(settings.mode), bulk_above_seconds=settings.bulk_above_seconds),
        webhook_url=settings.webhook_url,
        notices=await _webhooks(settings, connection, telemetry, stack),
    )


def _book_of(settings: Settings) -> BookPolicy:
    return BookPolicy(
        max_items=settings.bulk_max_items,
        max_wait_seconds=settings.bulk_max_wait_seconds,
        job=JobPolicy(
            deadline_seconds=settings.bulk_deadline_seconds,
            poll_seconds=settings.bulk_poll_seconds,
            poll_max_seconds=max(MAX_POLL_SECONDS, settings.bulk_poll_seconds),
            max_attempts=settings.max_attempts,
            base_seconds=settings.retry_base_seconds,
            max_seconds=settings.retry_max_seconds,
        ),
    )


async def _webhooks(
    settings: Settings, connection: Connection, telemetry: Telemetry, stack: AsyncExitStack
) -> NoticeConsumer | None:
    """Listen for webhooks, if they are wanted; returns where those of our partitions arrive."""
    if settings.webhook_url is None:
        return None
    producer = NoticeProducer(connection, topic=settings.topic_webhook)
    stack.push_async_callback(producer.close)
    secrets = (settings.webhook_secret, settings.webhook_secret_old)
    receiver = WebhookReceiver(
        settings.webhook_host,
        settings.webhook_port,
        secret=tuple(secret.get_secret_value().encode() for secret in secrets if secret is not None),
        publish=producer.send,
        observe=telemetry,
    )
    address = await receiver.start()
    stack.push_async_callback(receiver.stop)
    telemetry.log.info("listening_for_webhooks", address=address)
    consumer = NoticeConsumer(connection, topic=settings.topic_webhook, wall=time.time)
    stack.push_async_callback(consumer.close)
    return consumer
