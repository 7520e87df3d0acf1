"""The text in the group's offset metadata: what is written comes back, it always fits, and nothing is misread."""

from __future__ import annotations

import base64
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.flow.points import DISTANCES, DONE, JOB_IDS, JOBS, WATERMARKS, point, signed
from worker.flow.commit_point import (
    BUDGET_BYTES,
    METADATA_LIMIT,
    WINDOW,
    CommitPoint,
    MetadataError,
    decode,
    done_bytes,
    encode,
    job_bytes,
)


def bytes_of(text: str) -> int:
    """Without the checksum, which has its own place beside BUDGET_BYTES."""
    return len(base64.b85decode(text.removeprefix("ti1:"))) - 4


@given(WATERMARKS, DONE, JOBS)
@example(0, set(range(WINDOW)), {})
@example(0, set(range(0, WINDOW, 2)), {1: "\N{GRINNING FACE}" * 256})
@example(5, set(), {WINDOW - 1: ""})
@example(0, set(), dict.fromkeys(range(2000), "j"))  # fills the space to the last bytes
@example(
    0, set(), dict.fromkeys(range(12), "x" * 256) | {12: "x" * 256, 13: "j"}
)  # one that fits behind one that does not
@example(5, set(), {0: "\ud83d\ude00"})
@settings(max_examples=400, deadline=None)
def test_what_is_written_comes_back(watermark: int, done: set[int], jobs: dict[int, str]) -> None:
    """Within the limit, the done set whole, the jobs of the lowest offsets while there is space for them."""
    written = point(watermark, done, jobs)
    text = encode(written)
    read = decode(watermark, text)
    assert len(text) <= METADATA_LIMIT
    assert text.isascii()
    assert (read.watermark, read.done) == (watermark, written.done)
    assert list(read.jobs.items()) == sorted(written.jobs.items())[: len(read.jobs)]
    bound = done_bytes(len(done), max(done, default=0) + 1) + sum(map(job_bytes, written.jobs.values()))
    assert len(read.jobs) == len(written.jobs) or bound > BUDGET_BYTES


@given(DONE, st.integers(0, 50))
def test_done_bytes_is_an_upper_bound(done: set[int], beyond: int) -> None:
    """Of what the set takes, for every span that holds it."""
    if done:
        text = encode(point(9, done, {}))
        assert bytes_of(text) <= done_bytes(len(done), max(done) + 1 + beyond)


@given(DONE, DISTANCES, JOB_IDS)
def test_job_bytes_is_an_upper_bound(done: set[int], at: int, job_id: str) -> None:
    """Of what one more job adds, wherever it stands."""
    without = encode(point(9, done, {}))
    with_job = encode(point(9, done, {at: job_id}))
    if with_job:
        assert bytes_of(with_job) - (bytes_of(without) if without else 2) <= job_bytes(job_id)


@given(DONE)
@settings(deadline=None)
def test_the_done_set_stays_whole_when_jobs_are_cut(done: set[int]) -> None:
    jobs = dict.fromkeys(range(WINDOW), "x" * 256)
    text = encode(point(0, done, jobs))
    assert len(text) <= METADATA_LIMIT
    read = decode(0, text)
    assert read.done == done
    assert len(read.jobs) < len(jobs)


def test_a_canonical_uuid_takes_sixteen_bytes() -> None:
    """And only that form is packed: any other comes back as it was, at the price of its text."""
    value = uuid.UUID(int=1)
    assert job_bytes(str(value)) == job_bytes("x" * 16) == 16 + 3 + 1
    assert job_bytes(value.hex) == 32 + 3 + 1


def test_nothing_to_say_is_an_empty_text() -> None:
    assert encode(CommitPoint(7)) == ""
    assert decode(7, "") == CommitPoint(7)


@given(st.text(st.characters(), max_size=50).filter(lambda text: not text.startswith("ti")))
def test_a_foreign_text_says_nothing(text: str) -> None:
    """Another consumer's metadata: nothing above the offset is done."""
    assert decode(3, text) == CommitPoint(3)


@pytest.mark.parametrize("text", ["ti", "ti3:", "ti0:00", "ti1", "ti11:00", "ticket"])
def test_another_version_is_refused(text: str) -> None:
    """Reading past it would decide tracks twice."""
    with pytest.raises(MetadataError, match="run the version that wrote it"):
        decode(3, text)


def read_or_refused(text: str) -> CommitPoint | None:
    try:
        return decode(0, text)
    except MetadataError:
        return None


@given(WATERMARKS, DONE, JOBS, st.integers(0, METADATA_LIMIT))
@settings(max_examples=300, deadline=None)
def test_a_truncated_text_is_refused(watermark: int, done: set[int], jobs: dict[int, str], length: int) -> None:
    """A shorter done set would decide tracks twice, a longer one would lose one."""
    text = encode(point(watermark, done, jobs))
    if text:
        with pytest.raises(MetadataError):
            decode(watermark, text[: 2 + length % (len(text) - 2)])


@given(DONE, JOBS, st.integers(0), st.characters())
@settings(max_examples=300, deadline=None)
def test_a_damaged_text_is_refused(done: set[int], jobs: dict[int, str], at: int, wrong: str) -> None:
    """Or still says the same: the last characters may stand for the same bytes."""
    text = encode(point(0, done, jobs))
    if text:
        at = 4 + at % (len(text) - 4)
        assert read_or_refused(text[:at] + wrong + text[at + 1 :]) in (None, decode(0, text))


@given(WATERMARKS, WATERMARKS, DONE)
def test_a_text_moved_to_another_offset_is_refused(wrote: int, reads: int, done: set[int]) -> None:
    """Mirrored groups get translated offsets with the old metadata: its distances would mean other tracks."""
    text = encode(point(wrote, done, {}))
    if text and wrote != reads:
        with pytest.raises(MetadataError, match="checksum"):
            decode(reads, text)


NUMBERS = st.sampled_from([b"\x00", b"\x01", b"\xff", b"\x80", b"\x7f"])


@given(st.one_of(st.binary(max_size=400), st.lists(NUMBERS, max_size=400).map(b"".join)))
@settings(max_examples=500)
def test_any_bytes_under_our_mark_are_read_or_refused(body: bytes) -> None:
    """A version with a fault may have signed them: MetadataError and nothing else."""
    read_or_refused(signed(body))
    read_or_refused(signed(body, "ti2:"))


@given(st.text(st.characters(), max_size=100))
def test_any_text_under_our_mark_is_read_or_refused(text: str) -> None:
    read_or_refused("ti1:" + text)
    read_or_refused("ti2:" + text)


@pytest.mark.parametrize("run", [b"\x00\xff\xff\x01", b"\x00\xff\x7f"])
def test_runs_beyond_what_can_be_done_are_refused(run: bytes) -> None:
    """A few thousand bytes must not become millions of offsets in memory: 32,767 in a run, or 16,383 in each."""
    data = run * 700
    length = bytes((len(data) & 0x7F | 0x80, len(data) >> 7))
    with pytest.raises(MetadataError, match="beyond what can be done"):
        decode(0, signed(b"\x00" + length + data))


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_done_set_shorter_than_it_says_is_refused(cut: int) -> None:
    """Even with the checksum right."""
    body = b"\x00\x09" + b"\x01\x01" * 4 + b"\x01"
    with pytest.raises(MetadataError, match="truncated"):
        decode(0, signed(body[:-cut]))
