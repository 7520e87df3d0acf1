"""`dead-letters` and `decide-again` on a real Kafka: what is put back is put back once, whatever dies meanwhile."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.broker.processes import REPOSITORY, ChildProcess
from tests.broker.topics import read_all
from tests.broker.traffic import Event, poison, submit, track
from tests.broker.waiting import wait_until
from worker.domain.deadletter import dead_letter
from worker.domain.record import Record
from worker.domain.replay import REPLAYED_FROM
from worker.domain.submission import ReadError, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.broker.conftest import SetStage
    from tests.broker.scene import Scene

pytestmark = pytest.mark.broker
MANY = 2_000
COMMAND_SECONDS = 60
POLICY = """
name = "label-deal"
kind = "intake"

[[rules]]
when = { human_safe = "human" }
decision = "manual_review"
reason = "label_deal"

[default]
decision = "manual_review"
reason = "tier_not_evaluated"
"""


def start(scene: Scene, name: str, *words: str, **settings: str) -> ChildProcess:
    """Start one command of ours; its output, both streams, goes to a file of that name."""
    python = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    own = {"KAFKA_BOOTSTRAP_SERVERS": scene.servers, "KAFKA_GROUP_ID": scene.group}
    environment = {**python, **own, **scene.topics.environment, **settings}
    return ChildProcess([sys.executable, "-m", "worker", *words], scene.home / name, environment)


async def run(scene: Scene, *words: str, code: int = 0, **settings: str) -> str:
    """Run one command to its end; returns what it said."""
    name = f"command-{len(list(scene.home.glob('command-*')))}"
    command = start(scene, name, *words, **settings)
    ended = await command.exited(COMMAND_SECONDS)
    text = command.output.read_text()
    assert ended == code, text
    return text


def letters(scene: Scene, originals: Iterable[Record]) -> list[Event]:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    made = [
        dead_letter(each, Unreadable(ReadError.NOT_JSON, "/url"), topic=scene.topics.dead_letter, at=at)
        for each in originals
    ]
    return [Event(number % 4, each.key, each.value, each.headers) for number, each in enumerate(made)]


def originals(scene: Scene, events: Sequence[Event]) -> list[Record]:
    """Records as they would have been read from the input topic."""
    return [
        Record(scene.topics.submitted, event.partition, 7 * number, 0, event.key, event.value, event.headers)
        for number, event in enumerate(events)
    ]


async def replayed(scene: Scene) -> list[Record]:
    """What stands on the input topic and was put back there, at read_committed."""
    found = await read_all(scene.servers, [scene.topics.submitted])
    return [record for record in found if REPLAYED_FROM in dict(record.headers)]


async def test_dead_letters_are_listed_shown_and_replayed_once(stage: SetStage) -> None:
    async with stage(partitions=4) as scene:
        first = originals(scene, poison(4))
        await submit(scene.servers, scene.topics.dead_letter, letters(scene, first))
        assert len((await run(scene, "dead-letters", "list", "--reason", "not_json")).splitlines()) == len(first) + 1
        shown = await run(scene, "dead-letters", "show", "3@0", "--payload")
        assert "dlq_error: not_json" in shown
        assert "not json" in shown
        await run(scene, "dead-letters", "show", "3@99", code=3)
        assert "1 replayed" in await run(scene, "dead-letters", "replay", "3@0")
        assert "1 replayed before" in await run(scene, "dead-letters", "replay", "3@0")
        rest = await run(scene, "dead-letters", "replay")
        assert f"{len(first) - 1} replayed, 1 replayed before" in rest
        rows = [orjson.loads(row) for row in (await run(scene, "dead-letters", "list", "--json")).splitlines()[:-1]]
        assert [row["replayed"] for row in rows] == [True] * len(first)
        back = {record.key: record for record in await replayed(scene)}
        assert {key: like(record) for key, record in back.items()} == {record.key: like(record) for record in first}
        assert "1 replayed" in await run(scene, "dead-letters", "replay", "--force", "3@0")
        assert len(await replayed(scene)) == len(first) + 1


def like(record: Record) -> tuple[Any, ...]:
    """Everything that a replay must keep: where it stood, key, value, headers in their order."""
    headers = tuple(header for header in record.headers if header[0] != REPLAYED_FROM)
    return record.partition, record.key, record.value, headers


async def test_refused_and_missing_ones_do_not_stop_the_others(stage: SetStage) -> None:
    async with stage(partitions=4) as scene:
        own, other = originals(scene, [Event(0, b"own", b"x"), Event(0, b"other", b"x")])
        await submit(
            scene.servers, scene.topics.dead_letter, letters(scene, [replace(other, topic="other-input"), own])
        )
        said = await run(scene, "dead-letters", "replay", "0@0", "1@0", "2@0", "9@0", code=3)
        assert "other-input" in said
        assert "1 replayed, 0 replayed before, 1 refused, 2 not found" in said
        assert [record.key for record in await replayed(scene)] == [b"own"]
        assert "no topic absent" in await run(scene, "dead-letters", "list", code=3, TOPIC_DEAD_LETTER="absent")


async def test_a_ledger_that_would_forget_is_refused(stage: SetStage) -> None:
    async with stage(partitions=4) as scene:
        await scene.cluster.create_topics({f"{scene.topics.dead_letter}-replayed": 1})
        await submit(scene.servers, scene.topics.dead_letter, letters(scene, originals(scene, [Event(0, b"a", b"x")])))
        assert "cleanup.policy=compact" in await run(scene, "dead-letters", "replay", code=3)
        assert await replayed(scene) == []


async def test_kill_9_and_two_operators_at_once_replay_nothing_twice(stage: SetStage) -> None:
    """One is killed in mid-run, one sleeps in mid-run while another does the rest: each letter goes back once."""
    async with stage(partitions=4) as scene:
        events = [Event(number % 4, b"key-%d" % number, b"x" * 500) for number in range(MANY)]
        await submit(scene.servers, scene.topics.dead_letter, letters(scene, originals(scene, events)))
        killed = start(scene, "killed", "dead-letters", "replay")
        await under_way(killed)
        killed.kill()
        asleep = start(scene, "asleep", "dead-letters", "replay")
        await under_way(asleep)
        asleep.pause()
        last = start(scene, "last", "dead-letters", "replay")
        assert await last.exited(COMMAND_SECONDS) == 0, last.tail()
        asleep.resume()
        assert await asleep.exited(COMMAND_SECONDS) == 3, asleep.tail()
        assert asleep.tail(1).startswith("FAIL  another replay"), asleep.tail()
        assert "never retrieved" not in asleep.output.read_text()
        done = [count_replayed(each) for each in (killed, asleep, last)]
        assert min(done) > 0
        assert f"0 replayed, {MANY} replayed before" in await run(scene, "dead-letters", "replay")
        back = Counter(dict(record.headers)[REPLAYED_FROM] for record in await replayed(scene))
        assert (len(back), set(back.values())) == (MANY, {1})
        assert MANY - 200 <= sum(done) <= MANY  # what a process committed and had no time to say


async def under_way(command: ChildProcess) -> None:
    """Wait until it has replayed something."""

    async def replaying() -> bool:
        assert command.alive, command.tail()
        return count_replayed(command) > 0

    await wait_until("the replay is under way", replaying, COMMAND_SECONDS, 0.005)


def count_replayed(command: ChildProcess) -> int:
    return command.output.read_text().count("replayed   ")


async def test_a_replayed_dead_letter_is_decided(stage: SetStage, tmp_path: Path) -> None:
    """A policy that nobody had loaded makes a dead letter; loaded and replayed, the event gets its decision."""
    policy = tmp_path / "deal.toml"
    policy.write_text(POLICY)
    async with stage(partitions=4) as scene:
        event = track(1, run=scene.run, scenario="human", key="k", partitions=4)
        await scene.submit(
            [replace(event, value=orjson.dumps(orjson.loads(event.value or b"") | {"policy": "label-deal"}))]
        )
        without = scene.start_worker()
        await scene.until_done(1)
        await without.stop()
        listed = await run(scene, "dead-letters", "list", "--reason", "unknown_policy", "--item", f"{scene.run}-1")
        assert "/policy" in listed
        assert "0 dead letters" in await run(scene, "dead-letters", "list", "--item", "other")
        assert "0 dead letters" in await run(scene, "dead-letters", "list", "--since", "2999-01-01T00:00:00Z")
        with_it = scene.start_worker(POLICY_FILES=str(policy))
        await with_it.ready()
        await run(scene, "dead-letters", "replay", "--since", "2026-01-01T00:00:00Z")
        await scene.until_done(2)
        [decision] = [orjson.loads(each.value or b"") for each in await read_all(scene.servers, [scene.topics.review])]
        assert (decision["policy"]["name"], decision["reason"]) == ("label-deal", "label_deal")
        await with_it.stop()


async def test_decide_again_submits_the_original_once_and_says_what_is_gone(stage: SetStage) -> None:
    async with stage(partitions=2) as scene:
        scenarios = ["failed", "failed", "borderline", "human"]
        events = [
            track(number, run=scene.run, scenario=scenario, key=f"k{number}", partitions=2)
            for number, scenario in enumerate(scenarios)
        ]
        await scene.submit(events)
        worker = scene.start_worker()
        await scene.until_done(len(events))
        await run(scene, "decide-again", code=2)
        assert "3 to replay" in await run(scene, "decide-again", "--all", "--dry-run")
        again = ("decide-again", "--reason", "analysis_failed")
        assert "2 to replay" in await run(scene, *again, "--dry-run")
        assert "1 replayed" in await run(scene, *again, "--item", f"{scene.run}-0")
        await scene.until_done(len(events) + 1)
        [back] = await replayed(scene)
        assert like(back) == like(replace(back, key=events[0].key, value=events[0].value, headers=events[0].headers))
        await worker.stop()
        decisions = [orjson.loads(each.value or b"") for each in await read_all(scene.servers, [scene.topics.review])]
        ids = [each["decision_id"] for each in decisions if each["item_id"] == f"{scene.run}-0"]
        assert len(set(ids)) == 2
        await forget(scene, partition=events[1].partition)
        said = await run(scene, *again, "--until", "2999-01-01T00:00:00+01:00", code=3)
        assert "exists no longer" in said


async def forget(scene: Scene, partition: int) -> None:
    """Delete every record of one partition of the input, as retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.servers)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(scene.topics.submitted, partition): RecordsToDelete(-1)})
    finally:
        await admin.close()
