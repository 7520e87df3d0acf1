"""`explain` in words: whole outputs as an operator reads them, in 100 columns, and nothing foreign unescaped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explanations import COMMITS, OUT, PROCESS, QUOTA, explanation, partition, waiting
from worker.explain_text import as_text
from worker.explain_words import MEANINGS, due, ranges, seconds, table
from worker.pipeline.explanation import Behind, LastError, Paused, WaitsFor
from worker.pipeline.statuses import QuotaStatus

COLUMNS = 100
FULL = Paused("fetching", WaitsFor.BUFFER_FULL, 180.0, "1000 of 1000 records, 81750 of 4194304 bytes; goes on at half")

IN_AN_OUTAGE = """\
2026-05-01T03:12:44.000Z, worker running

track-submitted/3: offset 4812 holds the watermark
  held for   12 min 4 s, since 2026-05-01T03:00:40.000Z
  waits for  retry, for 12 s so far, due in 23 s
             its next attempt
  event      item "track-77", received 14 min 4 s ago, written 2026-05-01T02:58:11.000Z
  attempts   3; deadline in 2 min 56 s
  last error unavailable: HTTP 503
  behind it  311 queued (90 for their key's turn), 12 in flight, 3 retrying, 6 unpublished
  paused     fetching for 3 min 0 s: buffer_full
             waits for room in memory (MAX_BUFFERED_RECORDS, MAX_BUFFERED_BYTES)
             1000 of 1000 records, 81750 of 4194304 bytes; goes on at half
  commits    4812 committed; last one 0.2 s ago
  buffers    327 records, 81750 bytes
  metadata   31% used; 45 offsets done above the watermark

offset  state      waits for         since  due      attempts  last error   item
4812    retrying   retry             12 s   in 23 s  3         unavailable  track-77
4813    in_flight  call              12 s   in 23 s  3         unavailable  track-77
4815    queued     predecessor 4812  12 s   -        0         -            -

process
  calls      12 in flight, 64 may be (MAX_CONCURRENCY 64); 3 of 64 decisions wait for a commit
  outage     for 10 min 0 s, since 2026-05-01T03:02:44.000Z; next probe in 12 s
             unavailable: HTTP 503
             breaker open
  deadlines  have stood still for 10 min 0 s
  quota      14.0 requests in the last minute, 15.0 allowed (25% of 60)
             next request in 1.4 s; 3 polls wait
             the API said last: 2 of 60 left, renewed in 14 s
  retries    8.3 left
  consumer   its loop turned 0.1 s ago
"""

OF_MANY = """\
2026-05-01T03:12:44.000Z, worker running

partition  watermark  held for    waits for    due      attempts  behind  paused
11         4812       12 min 4 s  publication  in 23 s  3         332     -
3          4812       12 min 4 s  retry        in 23 s  3         332     buffer_full
7          -          -           -            -        -         0       opening
Nothing waits in partitions 0-2, 5.
Commits of partition 11: 4812 committed; last one 0.2 s ago; one under way for 41 s; 7 failed in a row
  last error: KafkaTimeoutError
publication: its publication: it is decided, the commit is to come
retry: its next attempt

process
  calls      12 in flight, 64 may be (MAX_CONCURRENCY 64); 3 of 64 decisions wait for a commit
  quota      0.0 requests in the last minute, no limit of our own
             next request now; 0 polls wait
"""


def test_one_partition_in_an_outage() -> None:
    blocked = replace(
        waiting(4815, WaitsFor.PREDECESSOR), state="queued", due_seconds=None, attempts=0, last_error=None, item_id=None
    )
    records = (waiting(), replace(waiting(4813, WaitsFor.CALL), state="in_flight"), replace(blocked, predecessor=4812))
    shown = replace(partition(3, waiting(), FULL), done_above=45, records=records)
    assert as_text(explanation(shown, process=OUT), in_detail=True) == IN_AN_OUTAGE


def test_all_partitions_the_worst_first_and_the_idle_ones_in_a_line() -> None:
    failing = replace(COMMITS, under_way_seconds=41.0, failures=7, error="KafkaTimeoutError")
    opening = replace(partition(7, None, Paused("both", WaitsFor.OPENING, 3.0)), watermark=None, next_offset=None)
    shown = (
        replace(partition(11, waiting(4812, WaitsFor.PUBLICATION)), commits=failing),
        *(partition(3, waiting(), FULL), opening, *(partition(number) for number in (5, 0, 2, 1))),
    )
    process = replace(PROCESS, quota=QuotaStatus(), consumer_loop_age_seconds=None)
    assert as_text(explanation(*shown, process=process), in_detail=False) == OF_MANY


def test_a_worker_without_partitions_says_so() -> None:
    quota = replace(QUOTA, allowed_per_minute=0.0, share=0.0, ready_in_seconds=None)
    text = as_text(explanation(process=replace(PROCESS, state="starting", quota=quota)), in_detail=False)
    assert "No partition is assigned to this worker." in text
    assert "next request not before an assignment" in text


def test_a_held_worker_names_the_cause_and_the_next_probe() -> None:
    held = replace(OUT, outage=None, held=OUT.outage)
    text = as_text(explanation(process=held), in_detail=False)
    assert "  held       for 10 min 0 s, since 2026-05-01T03:02:44.000Z; next probe in 12 s\n" in text


def test_a_partition_in_which_nothing_waits() -> None:
    text = as_text(explanation(replace(partition(3), done_above=0)), in_detail=True)
    assert "track-submitted/3: nothing waits below 5320\n" in text


@pytest.mark.parametrize("waits_for", WaitsFor)
def test_every_state_has_its_words_and_no_line_is_too_long(waits_for: WaitsFor) -> None:
    """With offsets and counts as long as they get in years."""
    assert waits_for in MEANINGS
    holder = replace(waiting(10**12, waits_for), job_id="0b0e4d0c-7b5e-4c39-9c3e-4a8f0a0f1a11", due_seconds=86_399.0)
    wide = replace(
        partition(1023, holder, replace(FULL, why=waits_for, since_seconds=None)),
        behind=Behind(99_999, 9_999, 256, 999, 999),
        done_above=16_384,
        records=(holder, holder),
    )
    for in_detail in (True, False):
        text = as_text(explanation(wide, process=OUT), in_detail=in_detail)
        assert max(map(len, text.splitlines())) <= COLUMNS, text


@given(st.text(), st.text(), st.text())
def test_what_strangers_wrote_stays_on_its_line_and_moves_no_cursor(item: str, detail: str, job: str) -> None:
    plain, foreign = (
        replace(waiting(), item_id=name, last_error=LastError("unavailable", error), job_id=job_id)
        for name, error, job_id in (("a", "b", "c"), (item, detail, job))
    )
    texts = [
        as_text(explanation(replace(partition(3, each), records=(each, each))), in_detail=True)
        for each in (plain, foreign)
    ]
    assert len(texts[0].splitlines()) == len(texts[1].splitlines())
    assert all(line.isprintable() for line in texts[1].splitlines())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (9.4, "9.4 s"),
        (9.6, "10 s"),
        (59.6, "1 min 0 s"),
        (724.0, "12 min 4 s"),
        (3599.6, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_when_something_is_due() -> None:
    assert [due(None), due(0.0), due(3.0)] == ["-", "now", "in 3.0 s"]


@given(st.sets(st.integers(0, 60)))
def test_ranges_can_be_read_back(numbers: set[int]) -> None:
    read = set[int]()
    for part in filter(None, ranges(sorted(numbers)).split(", ")):
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == numbers


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    assert list(table(("a", "b"), [("long", "x"), ("", "y")])) == ["a     b", "long  x", "      y"]
