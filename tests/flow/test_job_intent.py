"""What a lane means to do: the set it names, the one key of one request, and the bytes it takes at most."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain.record import Record
from worker.flow.commit_point import WINDOW
from worker.flow.job_intent import (
    ID_BYTES,
    KEY_BYTES,
    MAX_ID_BYTES,
    Aim,
    Intent,
    Scope,
    excluded_bytes,
    fits_an_intent,
    item_id,
    key_of,
    key_text,
    offset_of,
    pack,
    pack_id,
    partition_of,
    reserved_bytes,
    unpack,
    unpack_id,
)
from worker.flow.packing import Reader, runs_of

REACH = 2 * WINDOW
IDS = st.one_of(st.uuids().map(str), st.uuids().map(lambda value: value.hex), st.text(st.characters(), max_size=200))
FITTING = IDS.filter(fits_an_intent)
KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """Sets as they come about: a span of the window, some of it excluded, scattered or in runs."""
    first = draw(st.integers(0, 1 << 50))
    last = first + draw(st.integers(0, WINDOW - 1))
    within = st.integers(first, last)
    scattered = draw(st.sets(within, max_size=60))
    begin, stride = draw(within), draw(st.sampled_from([1, 2, 9, 100]))
    left_out = scattered | set(range(begin, draw(within) + 1, stride))
    aim = draw(st.sampled_from(Aim))
    key, job_id = (draw(KEYS), None) if aim is Aim.CREATE else (b"", draw(FITTING))
    return Intent(first, last, aim, runs_of(sorted(left_out)), key, job_id)


@st.composite
def watermarks(draw: st.DrawFn, intent: Intent) -> int:
    """Nothing of a set without a job is done; of one with a job perhaps all but the last."""
    highest = intent.last if intent.aim is Aim.FETCH else intent.first
    return draw(st.integers(max(0, intent.last - WINDOW + 1), highest))


@given(st.data(), intents())
def test_what_is_written_comes_back_within_what_was_reserved(data: st.DataObject, intent: Intent) -> None:
    """Now, and when the id takes the key's place."""
    watermark = data.draw(watermarks(intent))
    written = pack(intent, watermark)
    reader = Reader(written + b"rest")
    assert unpack(reader, watermark, REACH) == intent
    assert reader.take(4) == b"rest"
    assert len(written) <= reserved_bytes(intent)
    bare = replace(intent, excluded=())
    assert len(written) - len(pack(bare, watermark)) <= reserved_bytes(intent) - reserved_bytes(bare)
    if intent.aim is Aim.CREATE:
        accepted = replace(intent, aim=Aim.FETCH, key=b"", job_id=data.draw(FITTING))
        assert len(pack(accepted, watermark)) <= reserved_bytes(accepted) <= reserved_bytes(intent)


@given(intents())
def test_the_set_is_what_is_not_excluded(intent: Intent) -> None:
    excluded = {offset for first, end in intent.excluded for offset in range(first, end)}
    edges = {edge + by for run in intent.excluded for edge in run for by in (-1, 0, 1)}
    for offset in {*edges, intent.first - 1, intent.first, intent.last, intent.last + 1}:
        assert intent.covers(offset) == (intent.first <= offset <= intent.last and offset not in excluded)


@given(intents())
def test_excluded_bytes_is_an_upper_bound(intent: Intent) -> None:
    """For whoever must know it before the runs themselves are known."""
    without = reserved_bytes(replace(intent, excluded=()))
    bound = excluded_bytes(len(intent.excluded), intent.last - intent.first + 1)
    assert reserved_bytes(intent) - without <= bound


@given(st.binary(max_size=80), st.sampled_from([0, 5, 1 << 40]))
@example(b"\x08\x00\x00" + bytes(KEY_BYTES), 5)  # a flag that a newer version may have
@example(b"\x00\x00\x06" + bytes(KEY_BYTES), 5)  # an offset below 0
@example(b"\x02\x04\x03\x02\x00\x05" + bytes(KEY_BYTES), 5)  # excluded beyond the last
def test_any_bytes_are_read_or_refused(data: bytes, watermark: int) -> None:
    try:
        intent = unpack(Reader(data), watermark, REACH)
    except (ValueError, IndexError):
        return
    assert 0 <= intent.first <= intent.last < watermark + REACH
    assert all(intent.first <= first <= end <= intent.last + 1 for first, end in intent.excluded)
    assert (intent.aim is Aim.FETCH) == (intent.job_id is not None)


@pytest.mark.parametrize("flags", [8, 9, 16, 64])
def test_flags_of_another_version_are_refused(flags: int) -> None:
    """A meaning that this worker does not know."""
    with pytest.raises(ValueError, match="flags"):
        unpack(Reader(bytes((flags, 0, 0)) + bytes(40)), 5, REACH)


@pytest.mark.parametrize(
    ("head", "watermark"),
    [(b"\x00\x00\x06", 5), (b"\x00\xff\xff\x03\x00", 5), (b"\x00\x80\x02\xff\xff\x03", 1 << 40)],
)
def test_an_intent_beyond_the_reach_is_refused(head: bytes, watermark: int) -> None:
    """Below offset 0, too far above the watermark, too wide."""
    with pytest.raises(ValueError, match="beyond"):
        unpack(Reader(head + bytes(KEY_BYTES)), watermark, REACH)


def test_an_excluded_offset_beyond_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond"):
        unpack(Reader(b"\x02\x04\x03\x02\x00\x05" + bytes(KEY_BYTES)), 5, REACH)


# Ids.


@given(IDS)
def test_an_id_comes_back_as_it_was(job_id: str) -> None:
    reader = Reader(pack_id(job_id) + b"x")
    assert unpack_id(reader) == job_id
    assert reader.take(1) == b"x"


def test_what_fits_is_what_was_reserved() -> None:
    assert fits_an_intent("x" * MAX_ID_BYTES)
    assert not fits_an_intent("x" * (MAX_ID_BYTES + 1))
    assert not fits_an_intent("\N{GRINNING FACE}" * (MAX_ID_BYTES // 4 + 1))
    assert len(pack_id("x" * MAX_ID_BYTES)) == ID_BYTES


# Keys.

SCOPE = Scope("group", "topic", 3)


def record(offset: int, value: bytes | None, key: bytes | None = None) -> Record:
    return Record("topic", 3, offset, 0, key, value, ())


VALUES = st.one_of(st.none(), st.binary(max_size=12))
SETS = st.dictionaries(st.integers(0, 50), VALUES, min_size=1, max_size=5)
NAMES = st.text(st.characters(), max_size=6)
REQUESTS = st.tuples(st.builds(Scope, NAMES, NAMES, st.integers(0, 300)), SETS, st.binary(max_size=6))


def key(scope: Scope, tracks: dict[int, bytes | None], request: bytes) -> bytes:
    return key_of(scope, (record(offset, value) for offset, value in sorted(tracks.items())), request)


@given(REQUESTS, REQUESTS)
@example((SCOPE, {1: b"ab", 2: b""}, b""), (SCOPE, {1: b"a", 2: b"b"}, b""))
@example((SCOPE, {1: b"", 2: b"x"}, b""), (SCOPE, {1: bytes(7) + b"\x02x"}, b""))
@example((SCOPE, {1: b""}, b""), (Scope("group", "topic", 4), {1: b""}, b""))
@example((Scope("ab", "c", 1), {1: b""}, b""), (Scope("a", "bc", 1), {1: b""}, b""))
@example((Scope("a", "b", 1), {1: b""}, b"1"), (Scope("a", "b", 11), {1: b""}, b""))
@example((SCOPE, {1: b""}, b"x"), (SCOPE, {1: b""}, b"y"))
def test_one_request_has_one_key_and_no_other_has_it(
    one: tuple[Scope, dict[int, bytes | None], bytes], other: tuple[Scope, dict[int, bytes | None], bytes]
) -> None:
    """Whose it is, which tracks, what they say, what the request says: nothing runs into its neighbour."""
    assert key(*one) == key(*one)
    assert len(key(*one)) == KEY_BYTES
    empty = [(scope, {at: value or b"" for at, value in tracks.items()}, said) for scope, tracks, said in (one, other)]
    assert (key(*one) == key(*other)) == (empty[0] == empty[1])


def test_a_key_is_text_that_every_header_carries() -> None:
    text = key_text(bytes(range(KEY_BYTES)))
    assert text == "ti-000102030405060708090a0b0c0d0e0f"
    assert len(text) == 35


# Items.


@given(st.integers(0, (1 << 31) - 1), st.integers(0, (1 << 63) - 1), st.integers(0, 1 << 31))
def test_an_item_leads_back_to_its_offset(partition: int, offset: int, other: int) -> None:
    """And to no other partition's."""
    item = item_id(partition, offset)
    assert offset_of(item, partition) == offset
    assert partition_of(item) == partition
    assert (offset_of(item, other) is not None) == (other == partition)


@pytest.mark.parametrize(
    "item", ["", "3", "3-", "-7", "03-7", "3-07", "3-7 ", "3-7\n", "٣-7", "3--7", "3-+7", "3-7-1", "3-1e3"]
)
def test_what_we_never_wrote_leads_nowhere(item: str) -> None:
    assert offset_of(item, 3) is None
    assert partition_of(item) is None
