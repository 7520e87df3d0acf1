"""`explain` on a real Kafka: of a worker that runs, of a partition that is another's, and after everybody has died."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.broker.drive import API_KEY
from tests.broker.traffic import tracks
from tests.broker.waiting import wait_until
from worker.explain_command import explain
from worker.settings import load

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage
    from tests.broker.drive import WorkerProcess
    from tests.broker.scene import Scene

pytestmark = pytest.mark.broker
SEED = 20261005
EVENTS = 80


async def said(scene: Scene, worker: WorkerProcess, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command beside this worker: with its settings."""
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": scene.servers,
        "KAFKA_GROUP_ID": scene.group,
        "HTTP_HOST": "0.0.0.0",  # noqa: S104 - as in a pod
        "HTTP_PORT": str(worker._port),
    }
    settings = load(environ | scene.topics.environment, env_file=None, unneeded=["hs_api_key"]).settings
    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(explain, words, lambda: settings, out, err)
    assert API_KEY not in out.getvalue() + err.getvalue()
    assert "://" not in out.getvalue()
    return code, out.getvalue(), err.getvalue()


async def test_workers_that_run_and_what_is_left_when_they_are_killed(stage: SetStage) -> None:
    """Jobs of a minute: the offset that holds a watermark is known with its job, before and after the kill."""
    async with stage(service_seconds=60) as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        first, second = (scene.start_worker(generation=2, HS_FIRST_POLL_SECONDS="40") for _ in range(2))
        await scene.until_shared_by(2)

        async def holders() -> dict[str, Any] | None:
            points = (await scene.commit_points()).values()
            code, text, _ = await said(scene, first, "--json")
            explanation = orjson.loads(text)
            in_jobs = [each for each in explanation["partitions"] if (each["holder"] or {}).get("job_id")]
            are_there = code == 0 and sum(len(point.jobs) for point in points) >= 16 and in_jobs
            return {"explanation": explanation, "partition": in_jobs[0]["partition"]} if are_there else None

        found = await wait_until("jobs are committed, and one of the first worker's holds a watermark", holders, 30)
        explanation, partition = found["explanation"], found["partition"]
        mine = {each["partition"]: each for each in explanation["partitions"]}
        assert (len(mine), explanation["process"]["state"]) == (4, "running")
        holder = mine[partition]["holder"]
        assert (holder["state"], holder["waits_for"], holder["attempts"]) == ("in_flight", "next_poll", 1)
        assert 0 < holder["due_seconds"] < 40

        code, text, _ = await said(scene, first, f"--partition={partition}")
        assert code == 0
        assert f"{scene.topics.submitted}/{partition}: offset {holder['offset']} holds the watermark" in text

        other = min(set(range(8)) - mine.keys())
        code, text, err = await said(scene, first, f"--partition={other}")
        assert code == 3
        assert f"partition {other} is not of the worker" in err
        assert f"(client {second.name}) on 127.0.0.1" in text

        for worker in (first, second):
            worker.process.kill()
        code, text, err = await said(scene, first, f"--partition={partition}")
        assert (code, "no worker answers" in err) == (3, True)
        assert f"watermark  {mine[partition]['watermark']}: all below is decided and published" in text
        assert holder["job_id"] in text
        code, text, err = await said(scene, first, "--from-kafka", "--json")
        stored = orjson.loads(text)
        assert (code, err, [each["partition"] for each in stored]) == (0, "", list(range(8)))
        assert sum(each["undecided"] for each in stored) == EVENTS
        assert all(each["oldest_written_at"] for each in stored if each["undecided"])

        code, text, err = await said(scene, first, "--from-kafka", "--partition=8")
        assert (code, text) == (3, "")
        assert "has 8 partitions, 0 to 7: there is no 8" in err
