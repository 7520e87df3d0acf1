"""`check` and `topics` against a real broker and the simulated API: what is wrong is named, and how to mend it."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import NewTopic

from tests.broker.drive import API_KEY
from tests.broker.kafka import administrator
from tests.broker.waiting import wait_until
from worker.operations import OUTPUT_MESSAGE_BYTES, check, topics
from worker.settings import load

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage
    from tests.broker.scene import Scene
    from worker.settings import Settings

pytestmark = pytest.mark.broker


def settings_of(scene: Scene, **changed: str) -> Settings:
    own = {
        "HS_API_KEY": API_KEY,
        "HS_BASE_URL": scene.simulator.base_url(1),
        "KAFKA_BOOTSTRAP_SERVERS": scene.servers,
        "KAFKA_GROUP_ID": scene.group,
        "KAFKA_TRANSACTION_TIMEOUT_SECONDS": "5",
    }
    return load(environ=own | scene.topics.environment | changed, env_file=None).settings


async def said(scene: Scene, **changed: str) -> tuple[int, str]:
    out = io.StringIO()
    code = await asyncio.to_thread(check, settings_of(scene, **changed), out)
    return code, out.getvalue()


async def test_topics_are_created_once_and_then_pass_the_check(stage: SetStage) -> None:
    """`topics create` makes what `check` asks for, room for large decisions included; a repeat changes nothing."""
    async with stage() as scene:
        renamed = {name: f"{topic}-new" for name, topic in scene.topics.environment.items()}
        code, text = await said(scene, **renamed)
        assert (code, text.count("not found")) == (3, 5)
        for verb in ("created", "exists"):
            out = io.StringIO()
            code = await asyncio.to_thread(topics, settings_of(scene, **renamed), out, create=True, replay=False)
            assert code == 0, out.getvalue()
            assert [line.split()[0] for line in out.getvalue().splitlines()] == [verb] * 5

        async def ready() -> bool:  # brokers learn of new topics one after the other
            code, text = await said(scene, **renamed)
            return (code, text.splitlines()[-1]) == (0, "ready to run")

        await wait_until("the check passes", ready, 20)


async def test_the_topics_of_replays_are_optional_and_must_not_forget(stage: SetStage) -> None:
    """Missing ones are no fault, `topics create --replay` makes compacted ones, one that forgets is to be mended."""
    async with stage() as scene:
        ledger, other = (f"{name}-replayed" for name in (scene.topics.dead_letter, scene.topics.review))
        text = (await said(scene))[1]
        assert text.count("not needed before the first replay") == 2
        await scene.cluster.create_topics({other: 1})
        text = (await said(scene))[1]
        assert f"FAIL  topic {other}: 1 partitions, 1 replicas, cleanup.policy delete" in text
        assert "cleanup.policy=compact" in text
        out = io.StringIO()
        assert await asyncio.to_thread(topics, settings_of(scene), out, create=True, replay=True) == 0
        assert out.getvalue().splitlines()[5:] == [f"created  {ledger}", f"exists   {other}"]

        async def seen() -> bool:
            return f"ok    topic {ledger}: 1 partitions, 1 replicas, cleanup.policy compact" in (await said(scene))[1]

        await wait_until("the check sees the ledger", seen, 20)


async def test_the_topic_of_webhooks_has_a_partition_for_each_of_the_input(stage: SetStage) -> None:
    """Created as the input is, not as it would be; one that is missing, too small or compacted is to be mended."""
    async with stage(partitions=5) as scene:
        name, small, compacted = (f"{scene.run}-{kind}" for kind in ("webhook", "small", "compacted"))
        webhooks = {"WEBHOOK_URL": "https://intake.example.com", "WEBHOOK_SECRET": "-"}
        assert "webhook" not in (await said(scene))[1].lower().replace(scene.run.lower(), "")
        code, text = await said(scene, **webhooks, TOPIC_WEBHOOK=name)
        assert (code, f"FAIL  topic {name}: not found" in text) == (3, True)
        await scene.cluster.create_topics({small: 4})
        text = (await said(scene, **webhooks, TOPIC_WEBHOOK=small))[1]
        assert f"FAIL  topic {small}: 4 partitions" in text
        assert "Give it 5 partitions" in text
        async with administrator(scene.servers) as admin:
            await admin.create_topics([NewTopic(compacted, 5, 1, topic_configs={"cleanup.policy": "compact"})])
        settings = settings_of(scene, **webhooks, TOPIC_WEBHOOK=name)
        assert await asyncio.to_thread(topics, settings, io.StringIO(), create=True, replay=False) == 0

        async def seen() -> bool:
            text = (await said(scene, **webhooks, TOPIC_WEBHOOK=name))[1]
            wrong = (await said(scene, **webhooks, TOPIC_WEBHOOK=compacted))[1]
            return f"ok    topic {name}: 5 partitions" in text and "Set its cleanup.policy=delete" in wrong

        await wait_until("the check judges both", seen, 20)


async def test_check_names_a_topic_that_would_refuse_large_decisions(stage: SetStage) -> None:
    """The scene's own topics have the broker's default limit: each output is named with the figure to set."""
    async with stage() as scene:
        code, text = await said(scene)
        assert code == 3
        assert text.count(f"Set its max.message.bytes to {OUTPUT_MESSAGE_BYTES}") == 4
        assert "FAIL  transactions" not in text


async def test_check_names_a_refused_key_and_shows_no_secret(stage: SetStage) -> None:
    """The API is asked without buying anything, and its refusal is told apart from being out of reach."""
    async with stage() as scene:
        code, text = await said(scene, HS_API_KEY="another-key-altogether")
        assert code == 3
        assert "key_refused" in text
        assert "another-key" not in text
        unreachable = await said(scene, HS_BASE_URL="http://127.0.0.1:9/api/v1")
        assert "connect_failed" in unreachable[1]
        assert (await scene.simulator.ledger())["tracks"] == 0


async def test_check_says_that_no_broker_is_there(stage: SetStage) -> None:
    """A wrong address is one finding, not a traceback."""
    async with stage() as scene:
        code, text = await said(scene, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")
        assert code == 3
        assert "cannot connect to KAFKA_BOOTSTRAP_SERVERS" in text
