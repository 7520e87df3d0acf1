"""A broker that trusts nobody: what deploy/README.md says to grant is enough, and each line of it is needed.

`check` names whatever is wrong, and shows no secret.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.broker.drive import API_KEY
from tests.broker.granted import EVERYTHING, rights
from tests.broker.processes import REPOSITORY, ChildProcess
from tests.broker.refusals import MISTAKES
from tests.broker.security import KEY_PASSWORD, OPERATOR, PASSWORD, SESSION_SECONDS, WORKER, SecuredKafka
from tests.broker.topics import ends
from tests.broker.traffic import poison, tracks
from worker.operations import check
from worker.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.broker.conftest import SetStage
    from tests.broker.kafka import KafkaCluster
    from tests.broker.scene import Scene
    from tests.broker.security import Acl

pytestmark = pytest.mark.broker
SEED = 20261121
EVENTS = 60
COMMAND_SECONDS = 60
NO_API = {"HS_API_KEY": API_KEY, "HS_BASE_URL": "http://127.0.0.1:9/api/v1"}
WEBHOOK = {"WEBHOOK_URL": "https://intake.example", "WEBHOOK_SECRET": "webhook-secret-that-nobody-may-see"}


# The columns of the list of rights, a command of each, and what it says.
COMMANDS = (
    ("`dead-letters list`, `show`", ("dead-letters", "list"), "not_json"),
    ("`dead-letters replay`", ("dead-letters", "replay"), "2 replayed"),
    ("`decide-again`", ("decide-again", "--all"), "6 replayed"),
)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    kafka = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        asyncio.run(kafka.cluster.start())
        yield kafka
    finally:
        kafka.cluster.stop()


@pytest.fixture
def cluster(secured: SecuredKafka) -> KafkaCluster:
    """Scenes are set on the secured broker; what they do themselves, they do as its administrator."""
    return secured.cluster


def names(scene: Scene) -> dict[str, str]:
    """The settings that name what rights are about."""
    return {**scene.topics.environment, "TOPIC_WEBHOOK": f"{scene.run}-webhook", "KAFKA_GROUP_ID": scene.group}


def worker_rights(scene: Scene) -> list[Acl]:
    return rights(EVERYTHING, names(scene))


def settings_of(scene: Scene, security: Mapping[str, str]) -> dict[str, str]:
    api = {"HS_API_KEY": API_KEY, "HS_BASE_URL": scene.simulator.base_url(1), "KAFKA_TRANSACTION_TIMEOUT_SECONDS": "5"}
    return {**api, **names(scene), **security}


async def checked(scene: Scene, security: Mapping[str, str]) -> tuple[int, list[str]]:
    """`check` in this process: its exit code and its lines."""
    out = io.StringIO()
    settings = load(environ=settings_of(scene, security), env_file=None).settings
    code = await asyncio.to_thread(check, settings, out)
    return code, out.getvalue().splitlines()


async def command(home: Path, settings: Mapping[str, str], *words: str) -> tuple[int, str]:
    """A command as operators run it: its exit code and both its streams, which show no secret."""
    python = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    output = home / f"{uuid.uuid4()}.log"
    process = ChildProcess([sys.executable, "-m", "worker", *words], output, {**python, **settings})
    code = await process.exited(COMMAND_SECONDS)
    text = output.read_text()
    assert [secret for secret in secrets(settings) if secret in text] == []
    return code, text


def secrets(settings: Mapping[str, str]) -> list[str]:
    """What may appear nowhere."""
    file = settings.get("KAFKA_OAUTH_TOKEN_FILE")
    return [API_KEY, PASSWORD, KEY_PASSWORD, *(Path(file).read_text().split() if file else ())]


@pytest.mark.parametrize(
    ("listener", "guarantee"),
    [("scram", "exactly_once"), ("scram", "at_least_once"), ("mutual", "exactly_once")],
)
async def test_the_listed_rights_are_enough(
    stage: SetStage, secured: SecuredKafka, listener: str, guarantee: str
) -> None:
    """A worker with these rights and no other decides every event, and puts every poison away."""
    bad = poison(partitions=2)
    async with stage(partitions=2, service_seconds=0.02) as scene:
        granted = worker_rights(scene)
        if guarantee == "at_least_once":
            granted = [acl for acl in granted if acl.resource != "transactional id"]
        await secured.grant(WORKER, *granted)
        await scene.submit([*bad, *tracks(EVENTS, run=scene.run, partitions=2, seed=SEED)])
        security = secured.scram() if listener == "scram" else secured.mutual()
        worker = scene.start_worker(generation=1, **security, GUARANTEE=guarantee)
        await scene.until_done(EVENTS + len(bad))
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert (verdict.decisions, verdict.dead_letters) == (EVENTS, len(bad))
        assert not any(secret in worker.log.read_text() for secret in (PASSWORD, KEY_PASSWORD))


async def test_each_listed_right_is_needed_and_named(stage: SetStage, secured: SecuredKafka) -> None:
    """Without any one of them `check` fails, names that one and no other; so it does where only Describe is granted."""
    async with stage() as scene:
        await scene.cluster.create_topics({names(scene)["TOPIC_WEBHOOK"]: scene.partitions})
        security, granted = secured.scram(**WEBHOOK), worker_rights(scene)
        await secured.grant(WORKER, *granted)
        code, lines = await checked(scene, security)
        assert (code, lines[-1]) == (0, "ready to run"), lines
        for acl in granted:
            await secured.revoke(WORKER, acl)
            assert_named(acl, *await checked(scene, security))
            seen = replace(acl, operation="Describe")
            await secured.grant(WORKER, seen)
            assert_named(acl, *await checked(scene, security))
            await secured.revoke(WORKER, seen)
            await secured.grant(WORKER, acl)
        assert (await checked(scene, security))[0] == 0


def assert_named(acl: Acl, code: int, lines: list[str]) -> None:
    """The one right that is missing, and the command that grants it."""
    failed = [line for line in lines if line.startswith("FAIL")]
    named = f"{acl.resource} {acl.name}{'*' if acl.prefix else ''}"
    assert (code, failed) == (3, [f"FAIL  {named}: {acl.operation} is not granted"])
    mend = lines[lines.index(failed[0]) + 1]
    assert f"--allow-principal User:{WORKER} --operation {acl.operation} " in mend
    assert mend.split("--operation")[1].split()[2] == acl.name
    assert ("--resource-pattern-type prefixed" in mend) == acl.prefix


async def test_the_check_leaves_no_trace(stage: SetStage, secured: SecuredKafka) -> None:
    """What it asks for cannot be had: not even a marker of a transaction stands in any topic afterwards."""
    async with stage() as scene:
        await secured.grant(WORKER, *worker_rights(scene))
        assert (await checked(scene, secured.scram()))[0] == 0
        for topic in (scene.topics.submitted, *scene.topics.outputs):
            assert set((await ends(scene.servers, topic)).values()) == {0}


async def test_a_worker_outlives_its_tokens(stage: SetStage, secured: SecuredKafka) -> None:
    """Tokens end, the broker ends the connections that came with them; the next token comes in time, and once late."""
    lifetime, rounds = 2 * SESSION_SECONDS, 3
    async with stage(partitions=2, service_seconds=0.02) as scene:
        await secured.grant(WORKER, *worker_rights(scene))
        shown = [secured.issuer.token(WORKER, seconds=lifetime)]
        worker = scene.start_worker(generation=1, **secured.oauth(shown[0]))
        for number in range(rounds):
            first, late = EVENTS * number, number == rounds - 1
            await asyncio.sleep((lifetime if late else SESSION_SECONDS) if number else 0)
            await scene.submit(tracks(EVENTS, run=scene.run, partitions=2, seed=SEED, first=first))
            if late:
                assert await scene.done() == first  # without a token nothing can be done
            shown.append(secured.issuer.token(WORKER, seconds=lifetime))
            secured.renew(shown[-1])
            await scene.until_done(first + EVENTS)
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert (verdict.decisions, verdict.bought_again) == (EVENTS * rounds, 0)
        assert not any(token in worker.log.read_text() for token in shown)


@pytest.mark.parametrize("what", MISTAKES)
async def test_check_says_why_the_brokers_refuse_us(secured: SecuredKafka, what: str, tmp_path: Path) -> None:
    """One finding with the cause and the setting to look at; no secret in it, nor in what aiokafka logs."""
    mistake = MISTAKES[what]
    code, text = await command(tmp_path, NO_API | mistake.settings(secured), "check")
    lines = text.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("FAIL  kafka: ")]
    assert code == 3
    assert lines[place].startswith("FAIL  kafka: cannot connect to KAFKA_BOOTSTRAP_SERVERS: ")
    assert mistake.fact in lines[place]
    assert mistake.mend in lines[place + 1]


async def test_every_command_comes_in_as_the_worker_does(stage: SetStage, secured: SecuredKafka) -> None:
    """`explain`, the replays and `topics` each do their work over TLS with the rights that the list gives them."""
    bad = poison(partitions=1)[3:5]
    async with stage(partitions=1, service_seconds=0.02) as scene:
        await secured.grant(WORKER, *worker_rights(scene))
        await scene.submit([*bad, *tracks(6, run=scene.run, partitions=1, seed=SEED, scenarios=["borderline"])])
        worker = scene.start_worker(generation=1, **secured.scram())
        await scene.until_done(6 + len(bad))
        assert await worker.stop() == 0
        code, text = await command(scene.home, settings_of(scene, secured.scram()), "explain", "--from-kafka")
        assert (code, scene.topics.submitted in text) == (0, True), text

        security = settings_of(scene, secured.scram(OPERATOR))
        for column, words, says in COMMANDS:
            listed = rights(column, names(scene))
            await secured.grant(OPERATOR, *listed)
            code, text = await command(scene.home, security, *words)
            assert (code, says in text) == (0, True), text
            await secured.revoke(OPERATOR, *listed)
        code, text = await command(scene.home, security, "topics", "create")
        assert (code, "TopicAuthorizationFailed" in text) == (3, True), text
