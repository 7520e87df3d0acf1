"""The command `explain`: asks the running worker what waits for what; without an answer, what Kafka alone knows."""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter, ValidationError

from worker.adapters.kafka.group import GroupUnknownError, GroupView
from worker.adapters.kafka.replay import ReplayBrokerError, ReplayTopics, TopicReader
from worker.adapters.status_client import UnreachableError, ask
from worker.app import connection_of
from worker.explain_stored import stored, stored_text
from worker.explain_text import as_text
from worker.pipeline.explanation import Explanation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

    from worker.explain_stored import Stored
    from worker.settings import Settings

OK, USAGE, NOT_EXPLAINED = 0, 2, 3  # cli.py's codes
ASK_SECONDS = 5.0
ANSWERED, NOT_FOUND = 200, 404
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server listens is not where it is asked
_ANSWER = TypeAdapter(Explanation)


class NotExplainedError(Exception):
    """The worker does not tell. The text says why, and what to do."""


def explain(words: Sequence[str], settings: Callable[[], Settings | None], out: TextIO, err: TextIO) -> int:
    """Run the command; returns the exit code: 0 explained, 2 unusable arguments, 3 the worker did not explain it."""
    with redirect_stdout(out), redirect_stderr(err):
        try:
            options = _parser().parse_args(words)
        except SystemExit as stop:  # argparse has said why
            return OK if stop.code == 0 else USAGE
    loaded = None if options.url and not options.from_kafka else settings()
    if loaded is None and (options.from_kafka or not options.url):
        return USAGE
    try:
        return asyncio.run(_explain(options, loaded, out, err))
    except (GroupUnknownError, ReplayBrokerError) as problem:
        print(f"FAIL  Kafka: {problem}", file=err)
    return NOT_EXPLAINED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="track-intake explain",
        description="What waits for what: asks the running worker, and Kafka where no worker answers.",
    )
    parser.add_argument("--partition", type=_partition, metavar="N", help="this one in detail; else all, worst first")
    parser.add_argument("--url", help="of the worker (default: http://HTTP_HOST:HTTP_PORT)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--from-kafka", action="store_true", help="ask no worker: what the group has committed")
    return parser


def _partition(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError("a number, 0 or more")
    return int(text)


async def _explain(options: argparse.Namespace, settings: Settings | None, out: TextIO, err: TextIO) -> int:
    if not options.from_kafka:
        try:
            out.write(await _asked(options, settings))
        except NotExplainedError as problem:
            print(f"FAIL  {problem}", file=err)
        else:
            return OK
    if settings is None:
        print("      With KAFKA_* set, --from-kafka tells what is committed, and who owns what.", file=err)
    else:
        for text in _written(await _from_kafka(settings, options.partition), as_json=options.json):
            print(text, file=out)
    return OK if options.from_kafka else NOT_EXPLAINED


# The worker.


async def _asked(options: argparse.Namespace, settings: Settings | None) -> str:
    url = options.url.rstrip("/") if options.url else _own_url(settings)
    query = "" if options.partition is None else f"?partition={options.partition}"
    try:
        code, body = await ask(f"{url}/status{query}", ASK_SECONDS)
    except UnreachableError as exc:
        raise NotExplainedError(
            f"no worker answers at {url}: {exc}. Does it run, and here? HTTP_HOST and HTTP_PORT, or --url, say where."
        ) from exc
    if code == NOT_FOUND:
        raise NotExplainedError(_not_owned(body, url))
    if code != ANSWERED:
        raise NotExplainedError(f"{url} answers {code}: it is starting, or it is no track-intake worker")
    try:
        explanation = _ANSWER.validate_json(body)
    except ValidationError as exc:
        raise NotExplainedError(f"{url} is no track-intake worker, or one of another version") from exc
    if options.json:
        return body.decode() + "\n"
    return as_text(explanation, in_detail=options.partition is not None)


def _own_url(settings: Settings | None) -> str:
    if settings is None or settings.http_port == 0:
        raise NotExplainedError("HTTP_PORT is 0, any free port: the worker's log has it in the line `listening`. --url")
    host = _ANY_ADDRESS.get(settings.http_host, settings.http_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


def _not_owned(body: bytes, url: str) -> str:
    try:
        said = orjson.loads(body)
        return f"partition {int(said['partition'])} is not of the worker at {url}: it has {_numbers(said['owned'])}"
    except (ValueError, KeyError, TypeError):  # orjson's own error is a ValueError
        return f"{url} is no track-intake worker, or an older one: it knows no /status"


def _numbers(owned: Sequence[Any]) -> str:
    return ", ".join(str(int(each)) for each in owned) or "none"


# Kafka.


async def _from_kafka(settings: Settings, only: int | None) -> list[Stored]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what went wrong is said once, by us
    topic, connection = settings.topic_submitted, connection_of(settings)
    async with ReplayTopics(connection) as topics, TopicReader(connection) as reader:
        count = await topics.require(topic, "TOPIC_SUBMITTED")
        if only is not None and only >= count:
            raise GroupUnknownError(f"{topic} has {count} partitions, 0 to {count - 1}: there is no {only}")
        chosen = range(count) if only is None else range(only, only + 1)
        bounds = await reader.bounds(topic, count)
        async with GroupView(connection, settings.kafka_group_id, topic) as group:
            committed = await group.committed(chosen)
            state, owners = await _owners(group)
        return [
            stored(
                topic,
                partition,
                committed[partition],
                span=bounds[partition],
                oldest_ms=await _oldest(reader, topic, partition, bounds[partition], committed[partition]),
                group_state=state,
                owner=owners.get(partition),
            )
            for partition in chosen
        ]


async def _owners(group: GroupView) -> tuple[str | None, Mapping[int, str]]:
    try:
        return await group.owners()
    except GroupUnknownError:
        return None, {}  # brokers that do not tell it: the commit points are worth showing without


async def _oldest(reader: TopicReader, topic: str, partition: int, span: range, committed: Any) -> int | None:
    begin = span.start if committed is None else max(span.start, committed.offset)
    if begin >= span.stop:
        return None
    async for record in reader.records(topic, partition, range(begin, span.stop)):
        return record.timestamp_ms
    return None


def _written(found: Sequence[Stored], *, as_json: bool) -> list[str]:
    if as_json:
        return [orjson.dumps(found).decode()]
    return [text for each in found for text in stored_text(each)]
