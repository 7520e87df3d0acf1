"""Jobs of many tracks in the group's offset metadata: always whole, beside any done set, and never misread."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.flow.points import DISTANCES, DONE, JOBS, point, signed
from worker.flow.commit_point import (
    BUDGET_BYTES,
    INTENT_SPACE,
    METADATA_LIMIT,
    WINDOW,
    CommitPoint,
    MetadataError,
    decode,
    done_bytes,
    encode,
    job_bytes,
)
from worker.flow.job_intent import KEY_BYTES, Aim, Intent, fits_an_intent, reserved_bytes
from worker.flow.packing import runs_of

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
FITTING = st.one_of(st.uuids().map(str), st.text(st.characters(), min_size=1, max_size=128).filter(fits_an_intent))


@st.composite
def intents(draw: st.DrawFn, watermark: int) -> Intent:
    """One intent of the window; of a job that has its id, the first tracks may be done and below the watermark."""
    begin, end = sorted((draw(DISTANCES), draw(DISTANCES)))
    left_out = sorted(at for at in draw(DONE) if begin <= at <= end)
    aim = draw(st.sampled_from(Aim))
    key, job_id = (draw(KEYS), None) if aim is Aim.CREATE else (b"", draw(FITTING))
    below = draw(st.integers(0, min(watermark, WINDOW - 1 - (end - begin)))) if aim is Aim.FETCH else 0
    excluded = tuple((watermark + first, watermark + after) for first, after in runs_of(left_out))
    return Intent(watermark + begin - below, watermark + end, aim, excluded, key, job_id)


def within_the_space(wanted: list[Intent]) -> tuple[Intent, ...]:
    """As the ledger does: one that has no space is not meant."""
    kept: list[Intent] = []
    for intent in wanted:
        if sum(map(reserved_bytes, kept)) + reserved_bytes(intent) <= INTENT_SPACE:
            kept.append(intent)
    return tuple(kept)


INTENTS = st.integers(0, 1 << 62).flatmap(
    lambda watermark: st.tuples(st.just(watermark), st.lists(intents(watermark), min_size=1, max_size=12))
)
TINY = [Intent(at, at, Aim.FETCH, job_id="x") for at in range(WINDOW - 200, WINDOW)]
ODD = set(range(1, WINDOW, 2))


@given(INTENTS, DONE, JOBS)
@example((0, TINY), ODD, dict.fromkeys(range(0, 2000, 2), "j"))  # as many as fit, beside the largest done set
@example((0, TINY), set(), {})
@settings(max_examples=150, deadline=None)
def test_the_done_set_and_the_intents_always_fit(
    meant: tuple[int, list[Intent]], done: set[int], jobs: dict[int, str]
) -> None:
    """Within the limit and whole, whatever the jobs of single tracks take."""
    watermark, wanted = meant
    kept = within_the_space(wanted)
    written = replace(point(watermark, done, jobs), intents=kept)
    text = encode(written)
    read = decode(watermark, text)
    assert len(text) <= METADATA_LIMIT
    assert text.startswith("ti2:") == bool(kept)
    assert (read.watermark, read.done, read.intents) == (watermark, written.done, kept)
    assert list(read.jobs.items()) == sorted(written.jobs.items())[: len(read.jobs)]
    bound = done_bytes(len(done), max(done, default=0) + 1) + sum(map(job_bytes, written.jobs.values()))
    assert len(read.jobs) == len(written.jobs) or bound + sum(map(reserved_bytes, kept)) + 2 > BUDGET_BYTES


def test_there_is_space_for_some_jobs_whatever_is_done() -> None:
    """Beside the largest done set: eight to be made under ids of any length, or forty-seven that have a UUID."""
    create = Intent(0, WINDOW - 1, Aim.CREATE, key=bytes(KEY_BYTES))
    fetch = Intent(0, WINDOW - 1, Aim.FETCH, job_id=str(uuid.UUID(int=1)))
    assert (INTENT_SPACE // reserved_bytes(create), INTENT_SPACE // reserved_bytes(fetch)) == (8, 47)


@given(st.integers(1, 1000), st.integers(0, 1000), KEYS)
def test_an_intent_below_the_watermark_is_over(beyond: int, span: int, key: bytes) -> None:
    """All of its tracks are done: it is left out, and without others the older version can read the text."""
    over = Intent(5000, 5000 + span, Aim.CREATE, key=key)
    watermark = over.last + beyond
    assert encode(CommitPoint(watermark, intents=(over,))) == ""
    text = encode(CommitPoint(watermark, frozenset({watermark + 3}), intents=(over,)))
    assert text == encode(CommitPoint(watermark, frozenset({watermark + 3})))


def test_a_worker_of_the_first_version_can_take_over_without_intents() -> None:
    """The bytes of version 1 as it wrote them: it reads these, and this version reads what it wrote."""
    written = CommitPoint(5, frozenset({7, 8, 11}), {6: "j"})
    assert encode(written) == "ti1:-df1$0Rc<_0%`"
    assert decode(5, "ti1:-df1$0Rc<_0%`") == written


@given(INTENTS, st.integers(0), st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damaged_intents_are_refused(meant: tuple[int, list[Intent]], at: int, wrong: int) -> None:
    """Cut, changed, or under the other version's mark."""
    watermark, wanted = meant
    text = encode(CommitPoint(watermark, intents=within_the_space(wanted)))
    if not text:
        return
    raw = bytearray(base64.b85decode(text[4:]))
    cut, changed = bytes(raw[: at % len(raw)]), raw.copy()
    changed[at % len(raw)] ^= wrong or 1
    for damaged in (cut, bytes(changed)):
        with pytest.raises(MetadataError, match="damaged"):
            decode(watermark, "ti2:" + base64.b85encode(damaged).decode())
    with pytest.raises(MetadataError, match="checksum"):
        decode(watermark, "ti1:" + text[4:])


@pytest.mark.parametrize("count", [1, 2, 127])
def test_fewer_intents_than_it_says_are_refused(count: int) -> None:
    """Even with the checksum right: one that is not seen would be bought again."""
    with pytest.raises(MetadataError, match="damaged"):
        decode(0, signed(bytes((0, 0, count)), "ti2:"))
