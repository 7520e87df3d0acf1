"""What Kafka alone tells of a partition, in values and words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.explain_stored import SetOfTracks, Stored, stored, stored_text
from worker.flow.commit_point import CommitPoint, encode
from worker.flow.job_intent import Aim, Intent
from worker.flow.packing import runs_of
from worker.flow.publication import Committed

COLUMNS = 100
JOB = "0b0e4d0c-7b5e-4c39-9c3e-4a8f0a0f1a11"


def kept(committed: Committed | None, *, owner: str | None = None, state: str | None = "Empty") -> Stored:
    return stored("t", 3, committed, span=range(10, 60), oldest_ms=0, group_state=state, owner=owner)


def test_what_is_committed_is_told_with_its_jobs() -> None:
    point = CommitPoint(20, frozenset({22, 25}), {20: JOB, 24: "other"})
    found = kept(Committed(20, encode(point)))
    assert list(stored_text(found)) == [
        "t/3, as Kafka keeps it",
        "  watermark  20: all below is decided and published",
        "  done above 2 offsets, the highest 25",
        "  log        offsets 10 to 60; 38 undecided at most",
        "  oldest     undecided event written 1970-01-01T00:00:00.000Z",
        "  jobs       2 paid for and not yet decided",
        f"             20  {JOB}",
        "             24  other",
        "  owner      none; the group is Empty (no worker is in the group)",
    ]


def test_sets_of_tracks_are_told_with_their_jobs() -> None:
    """What of a set is below the watermark, excluded or done is decided, or of another way."""
    first = Intent(15, 29, Aim.FETCH, ((24, 26),), job_id=JOB)
    point = CommitPoint(20, frozenset({22, 25, 31}), {}, (first, Intent(30, 39, Aim.CREATE, key=b"k" * 16)))
    found = kept(Committed(20, encode(point)))
    assert found.sets == (SetOfTracks(15, 29, 7, JOB), SetOfTracks(30, 39, 9, None))
    assert list(stored_text(found))[5:-1] == [
        "  jobs       0 paid for and not yet decided",
        "  of many    2 jobs of many tracks, bought or about to be",
        "             15 to 29, 7 undecided at most",
        f"               {JOB}",
        "             30 to 39, 9 undecided at most",
        "               new: its creation is repeated, and buys nothing twice",
    ]


@given(st.data())
def test_what_a_set_has_undecided_is_what_it_covers_and_nobody_has_done(data: st.DataObject) -> None:
    """At most: gaps in the offsets are not known. Against the plain count."""
    watermark = data.draw(st.integers(0, 60))
    first = data.draw(st.integers(0, 60))
    last = data.draw(st.integers(max(first, watermark), 90))
    without = data.draw(st.sets(st.integers(first, last)))
    done = data.draw(st.frozensets(st.integers(watermark, 100)))
    intent = Intent(first, last, Aim.CREATE, runs_of(sorted(without)), key=b"k" * 16)
    [found] = kept(Committed(watermark, encode(CommitPoint(watermark, done, {}, (intent,))))).sets
    left = set(range(max(first, watermark), last + 1)) - without - done
    assert (found.first_offset, found.last_offset, found.undecided) == (first, last, len(left))


def test_many_sets_are_cut() -> None:
    sets = tuple(Intent(at, at + 9, Aim.CREATE, key=b"k" * 16) for at in range(20, 90, 10))
    found = kept(Committed(20, encode(CommitPoint(20, frozenset(), {}, sets))))
    assert (len(found.sets), "             and 3 more (--json)" in list(stored_text(found))) == (7, True)
    assert all(len(line) <= COLUMNS for line in stored_text(found))


def test_a_group_that_never_committed_and_one_that_is_not_told() -> None:
    text = "\n".join(stored_text(kept(None, state=None)))
    assert "watermark  none: the group has never committed here" in text
    assert "50 undecided at most" in text
    assert "owner      not told" in text
    assert "owner      worker-1 on host" in "\n".join(stored_text(kept(None, owner="worker-1 on host")))


def test_metadata_that_cannot_be_read_is_said_and_no_fault() -> None:
    found = kept(Committed(20, "ti9:of a later version"))
    assert (found.watermark, found.done_above, found.problem is not None) == (20, 0, True)
    assert "the version 'ti9:'" in "\n".join(stored_text(found))


def test_many_jobs_are_cut_and_a_log_that_was_cut_is_counted_from_where_it_begins() -> None:
    point = CommitPoint(2, frozenset(), dict.fromkeys(range(2, 32), JOB))
    found = kept(Committed(2, encode(point)))
    assert (found.undecided, len(found.jobs)) == (50, 30)
    assert "             and 20 more (--json)" in list(stored_text(found))
