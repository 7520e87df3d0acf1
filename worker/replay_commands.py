"""The commands `dead-letters` and `decide-again`: look at what went wrong, and submit it again at most once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from worker import replay_arguments as arguments
from worker.adapters.kafka.replay import ReplayBrokerError, ReplayPublisher, ReplayTopics, TopicReader
from worker.app import connection_of
from worker.domain.replay import of_dead_letter, of_decision
from worker.flow.publication import FencedError, PublishFailedError
from worker.flow.replay_ledger import LedgerError, ReplayLedger, ledger_topic
from worker.replay_arguments import selection_of
from worker.replay_run import Job, Replay, Tally, Topic, search
from worker.replay_views import details, json_line, line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Sequence
    from typing import TextIO

    from worker.settings import Settings

    Task = Callable[["Session", argparse.Namespace], Coroutine[None, None, int]]

OK, USAGE, NOT_ALL_DONE = 0, 2, 3  # cli.py's codes
_NEXT_RUN = "What is listed as replayed is done; whether the last batch is, the next run finds out: run it again."


def dead_letters(words: Sequence[str], settings: Callable[[], Settings | None], out: TextIO, err: TextIO) -> int:
    """Run one `dead-letters` command; returns the exit code: 0 done, 2 unusable arguments, 3 not all was done."""
    options = _parsed(arguments.dead_letters(), words, out, err)
    if isinstance(options, int):
        return options
    tasks: dict[str, Task] = {"list": _list, "show": _show, "replay": _replay}
    return _run(tasks[options.command], options, settings, out, err)


def decide_again(words: Sequence[str], settings: Callable[[], Settings | None], out: TextIO, err: TextIO) -> int:
    """Run `decide-again`; returns the exit code: 0 done, 2 unusable arguments, 3 not all was done."""
    options = _parsed(arguments.decide_again(), words, out, err)
    if isinstance(options, int):
        return options
    if not options.all and not any((options.reason, options.since, options.until, options.item, options.positions)):
        print("Each decision made again costs a credit: choose some (see --help), or give --all.", file=err)
        return USAGE
    return _run(_decide_again, options, settings, out, err)


def _parsed(
    parser: argparse.ArgumentParser, words: Sequence[str], out: TextIO, err: TextIO
) -> argparse.Namespace | int:
    with redirect_stdout(out), redirect_stderr(err):
        try:
            return parser.parse_args(words)
        except SystemExit as stop:  # argparse has said why
            return OK if stop.code == 0 else USAGE


def _run(
    task: Task, options: argparse.Namespace, settings: Callable[[], Settings | None], out: TextIO, err: TextIO
) -> int:
    if (loaded := settings()) is None:
        return USAGE
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of a fenced producer futures are left that nobody awaits
    try:
        return asyncio.run(_with_session(task, options, loaded, out, err))
    except (ReplayBrokerError, LedgerError) as problem:
        print(f"FAIL  {problem}", file=err)
    except FencedError:
        print(
            f"FAIL  another replay from this topic has started, or the brokers gave this one up. {_NEXT_RUN}", file=err
        )
    except PublishFailedError as problem:
        print(f"FAIL  the brokers did not take a batch: {problem}. {_NEXT_RUN} It needs {_rights(loaded)}.", file=err)
    return NOT_ALL_DONE


def _rights(settings: Settings) -> str:
    ids, topic = f"{settings.kafka_group_id}-replay-", settings.topic_submitted
    return f"transactions: WRITE and DESCRIBE on transactional ids that begin with {ids}; and WRITE on {topic}"


async def _with_session(task: Task, options: argparse.Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    async with AsyncExitStack() as stack:
        topics = await stack.enter_async_context(ReplayTopics(connection_of(settings)))
        reader = await stack.enter_async_context(TopicReader(connection_of(settings)))
        return await task(Session(settings, stack=stack, topics=topics, reader=reader, out=out, err=err), options)


class Session:
    """What every command has at hand: the brokers, and where to print."""

    def __init__(
        self,
        settings: Settings,
        *,
        stack: AsyncExitStack,
        topics: ReplayTopics,
        reader: TopicReader,
        out: TextIO,
        err: TextIO,
    ) -> None:
        self.settings, self.topics, self.reader = settings, topics, reader
        self._stack, self._out, self._err = stack, out, err

    def say(self, text: str) -> None:
        """Print a line of the result, at once: a replay may take long."""
        print(text, file=self._out, flush=True)

    def complain(self, text: str) -> None:
        """Print a line beside the result."""
        print(text, file=self._err, flush=True)

    async def topic(self, setting: str) -> Topic:
        """The topic that a setting names; it must exist."""
        name: str = getattr(self.settings, setting.lower())
        return Topic(name, await self.topics.require(name, setting))

    async def more(self) -> TopicReader:
        """A second reader, for a second topic at the same time."""
        return await self._stack.enter_async_context(TopicReader(connection_of(self.settings)))

    async def ledger(self, source: str) -> ReplayLedger:
        """What was replayed from a topic."""
        ledger, topic = ReplayLedger(), ledger_topic(source)
        partitions = await self.topics.partitions(topic) or 0
        for partition, bound in (await self.reader.bounds(topic, partitions)).items() if partitions else ():
            async for record in self.reader.records(topic, partition, bound):
                try:
                    ledger.learn(record.key, record.value)
                except LedgerError as exc:
                    at = f"{topic}/{partition}@{record.offset}"
                    raise LedgerError(
                        f"{at}, the record of what was replayed, cannot be read: {exc}. Does anything else write there?"
                    ) from exc
        return ledger

    async def writer(self, source: str) -> ReplayPublisher:
        """Become the only one that replays from a topic; read its ledger after this, not before."""
        await self.topics.prepare_ledger(ledger_topic(source))
        publisher = ReplayPublisher(
            connection_of(self.settings),
            transactional_id=f"{self.settings.kafka_group_id}-replay-{source}",
            transaction_timeout_seconds=self.settings.kafka_transaction_timeout_seconds,
        )
        self._stack.push_async_callback(publisher.close)
        await publisher.start()
        return publisher


async def _list(session: Session, options: argparse.Namespace) -> int:
    source = await session.topic("TOPIC_DEAD_LETTER")
    ledger = await session.ledger(source.name)
    shown = 0
    async for candidate, letter in search(session.reader, source, selection_of(options), of_dead_letter):
        replayed = candidate.origin is not None and candidate.origin in ledger
        session.say((json_line if options.json else line)(candidate, letter, replayed=replayed))
        shown += 1
        if shown == options.limit:
            break
    session.complain(f"{shown} dead letters")
    return OK


async def _show(session: Session, options: argparse.Namespace) -> int:
    source = await session.topic("TOPIC_DEAD_LETTER")
    ledger = await session.ledger(source.name)
    at = options.position
    bounds = await session.reader.bounds(source.name, source.partitions)
    if at.offset in bounds.get(at.partition, range(0)):
        async for letter in session.reader.records(source.name, at.partition, range(at.offset, at.offset + 1)):
            candidate = of_dead_letter(letter)
            replayed = candidate.origin is not None and candidate.origin in ledger
            for text in details(candidate, letter, replayed=replayed, payload=options.bytes if options.payload else 0):
                session.say(text)
            return OK
    bound = bounds.get(at.partition)
    kept = f"offsets {bound.start} to {bound.stop - 1} exist there" if bound else "that partition is empty or unknown"
    session.complain(f"FAIL  {source.name} has no record at {at}: {kept}, with gaps where transactions ended")
    return NOT_ALL_DONE


async def _replay(session: Session, options: argparse.Namespace) -> int:
    replay = await _prepared(session, options, await session.topic("TOPIC_DEAD_LETTER"))
    return _summary(session, options, await replay.dead_letters(of_dead_letter))


async def _decide_again(session: Session, options: argparse.Namespace) -> int:
    replay = await _prepared(session, options, await session.topic("TOPIC_REVIEW"))
    return _summary(session, options, await replay.decisions(of_decision, await session.more()))


async def _prepared(session: Session, options: argparse.Namespace, source: Topic) -> Replay:
    job = Job(
        source=source,
        submitted=await session.topic("TOPIC_SUBMITTED"),
        ledger_topic=ledger_topic(source.name),
        selection=selection_of(options),
        limit=options.limit,
        force=options.force,
    )
    writer = None if options.dry_run else await session.writer(source.name)
    return Replay(job, session.reader, await session.ledger(source.name), writer, session.say)


def _summary(session: Session, options: argparse.Namespace, tally: Tally) -> int:
    session.complain(
        f"{tally.replayed} {'to replay' if options.dry_run else 'replayed'}, {tally.already} replayed before, "
        f"{tally.refused} refused, {tally.missing} not found"
    )
    return NOT_ALL_DONE if tally.refused or tally.missing else OK
