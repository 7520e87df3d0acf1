"""Generation 2 takes a file as well: multipart, exactly one of address and file, else 422 and no charge."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import aiohttp
import pytest

from worker.sandbox.api import SimulatedApi, SimulationConfig
from worker.sandbox.api.config import CATALOGUE
from worker.sandbox.api.findings import Findings
from worker.sandbox.api.scenarios import SCENARIOS, scenario_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AUDIO = b"RIFF"
LARGE = AUDIO * 500_000  # 2 MB: more than aiohttp's server holds of a body
ADDRESS = "https://cdn.example/1.flac"


@pytest.fixture
async def api() -> AsyncIterator[SimulatedApi]:
    served = SimulatedApi(SimulationConfig(rate_limit_per_minute=0, service_seconds=0.0))
    await served.start()
    yield served
    await served.stop()


def form(*parts: tuple[str, bytes | str, str | None]) -> aiohttp.FormData:
    made = aiohttp.FormData(default_to_multipart=True)
    for name, value, filename in parts:
        made.add_field(name, io.BytesIO(value) if isinstance(value, bytes) else value, filename=filename)
    return made


async def posted(
    api: SimulatedApi, data: aiohttp.FormData | bytes, generation: int = 2, kind: str = ""
) -> tuple[int, str]:
    """Status and job id of a submission."""
    headers = {"Authorization": "Bearer sandbox-key"} | ({"Content-Type": kind} if kind else {})
    url = f"{api.base_url(generation)}/analyze?detail=full"
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as reply:
        return reply.status, str((await reply.json()).get("job_id"))


async def test_a_file_is_accepted_charged_once_and_analysed(api: SimulatedApi) -> None:
    """Its name may name a scenario, as an address may."""
    code, job_id = await posted(api, form(("file", LARGE, "sandbox=ai.flac"), ("note", "ignored", None)))
    assert code == 200
    assert api.ledger.credits == 1
    url = f"{api.base_url(2)}/jobs/{job_id}/status?detail=full"
    headers = {"Authorization": "Bearer sandbox-key"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as reply:
        result = (await reply.json())["result"]
    assert result["verdict"] == "ai"


async def test_the_same_file_again_is_seen_as_a_repeat_another_one_is_not(api: SimulatedApi) -> None:
    for content in (AUDIO, AUDIO, AUDIO[1:]):
        assert (await posted(api, form(("file", content, "a.flac"))))[0] == 200
    assert sorted(api.ledger.scans.values()) == [1, 2]
    assert list(api.ledger.repeated.values()) == [2]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [("note", "no audio", None)],
        [("url", ADDRESS, None)],
        [("url", AUDIO, "a.flac")],
        [("file", b"", "empty.flac")],
        [("file", "text, no file", None)],
        [("file", AUDIO, "a.flac"), ("url", ADDRESS, None)],
        [("url", ADDRESS, None), ("file", AUDIO, "a.flac")],
        [("file", AUDIO, "a.flac"), ("file", AUDIO, "b.flac")],
    ],
)
async def test_anything_but_one_file_is_422_and_free(
    api: SimulatedApi, parts: list[tuple[str, bytes | str, str | None]]
) -> None:
    assert (await posted(api, form(*parts)))[0] == 422
    assert api.ledger.credits == 0


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", "multipart/mixed; boundary=x"]
)
@pytest.mark.parametrize("body", [b"", b"no parts", b"--x\r\n", b"--x\r\nbad header\r\n\r\n--x--", b"--x--\r\n"])
async def test_a_broken_form_is_422(api: SimulatedApi, kind: str, body: bytes) -> None:
    assert (await posted(api, body, kind=kind))[0] == 422
    assert api.ledger.credits == 0


async def test_generation_1_takes_no_files(api: SimulatedApi) -> None:
    assert (await posted(api, form(("file", b"RIFF", "a.flac")), generation=1))[0] == 422


def test_an_elevated_track_is_human_at_every_tier_with_a_geo_score_above_one_half() -> None:
    """What only the strict policy sends to people."""
    found = scenario_of("https://x/y?sandbox=elevated", seed=0, catalogue=CATALOGUE)
    assert found is SCENARIOS["elevated"]
    assert set(found.tiers) == {"human"}
    body = Findings(seed=0).generation_1(found, scan_id="1", now=0.0)
    assert b'"geo_score":0.558' in body
    assert b'"verdict":"human"' in body
