"""Jobs of many tracks in the words of `explain`, as an operator reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explanations import JOB, JOBS, explanation, partition, waiting
from worker.explain_text import as_text
from worker.explain_words import JOB_MEANINGS
from worker.pipeline.explanation import Behind, JobWaitsFor, Partition, WaitsFor

COLUMNS = 100
BY_JOBS = """\
2026-05-01T03:12:44.000Z, worker running

track-submitted/3: offset 4812 holds the watermark
  held for   12 min 4 s, since 2026-05-01T03:00:40.000Z
  waits for  job, for 12 s so far, due in 2 min 0 s
             its result: it is in a job of many tracks
  event      item "track-77", received 14 min 4 s ago, written 2026-05-01T02:58:11.000Z
  attempts   1; deadline in 5 h 47 min
  job        0b0e4d0c-7b5e-4c39-9c3e-4a8f0a0f1a11
  behind it  70000 queued (90 for their key's turn), 0 in flight, 0 retrying, 6 unpublished
             19987 in jobs, 12 with a result, behind another of their key
  mode       bulk: direct calls need 1 d 3 h for what waits, jobs begin above 5 min 0 s
  jobs       2 open, 19988 tracks in them; the next of 10000 at most
  open job   0b0e4d0c-7b5e-4c39-9c3e-4a8f0a0f1a11
             offsets 4812 to 14811: 9988 tracks without a result
             here for 12 min 34 s; deadline in 5 h 47 min
             waits for time, due in 2 min 0 s; its next call: a question how far it is
             the time of its next call
             last fault: HTTP 503
  open job   new
             offsets 14812 to 24811: 10000 tracks without a result
             here for 0.4 s
             waits for intent; its next call: its creation
             a commit: what is to be bought is written down before
  commits    4812 committed; last one 0.2 s ago
  buffers    327 records, 81750 bytes
  metadata   31% used

process
"""


def in_jobs(number: int = 3) -> Partition:
    """A partition in bulk mode, with two jobs."""
    record = replace(
        waiting(waits_for=WaitsFor.JOB),
        state="in_job",
        due_seconds=120.0,
        attempts=1,
        last_error=None,
        job_id=JOB.job_id,
        deadline_seconds=JOB.deadline_seconds,
    )
    behind = Behind(70_000, 90, 0, 0, 6, in_jobs=19_987, behind_key=12)
    return replace(partition(number, record), behind=behind, jobs=JOBS)


def test_one_partition_by_jobs() -> None:
    assert as_text(explanation(in_jobs()), in_detail=True).startswith(BY_JOBS)


def test_the_jobs_of_all_partitions_are_a_table_of_their_own() -> None:
    """Of those that go by jobs, or have any left; by number, whatever holds the worst of them."""
    direct = replace(JOBS, mode="direct", open=0, tracks=0, oldest_seconds=None, estimate_seconds=12.0, jobs=())
    last_one = replace(direct, open=1, tracks=17, oldest_seconds=31.0)
    idle = replace(direct, mode="bulk")
    shown = (
        replace(in_jobs(11), jobs=replace(JOBS, jobs=())),
        *(replace(partition(number), jobs=each) for number, each in ((5, direct), (7, last_one), (2, idle))),
    )
    lines = as_text(explanation(*shown), in_detail=False).splitlines()
    assert lines[2:4] == [
        "partition  watermark  held for    waits for  due           attempts  behind  paused",
        "11         4812       12 min 4 s  job        in 2 min 0 s  1         90005   -",
    ]
    at = lines.index("partition  mode    direct calls need  jobs above  open jobs  tracks in jobs  oldest job")
    assert lines[at + 1 : at + 5] == [
        "2          bulk    12 s               5 min 0 s   0          0               -",
        "7          direct  12 s               5 min 0 s   1          17              31 s",
        "11         bulk    1 d 3 h            5 min 0 s   2          19988           12 min 34 s",
        "",
    ]


def test_without_jobs_nothing_is_said_of_them() -> None:
    for in_detail in (True, False):
        assert "jobs" not in as_text(explanation(partition(3, waiting())), in_detail=in_detail)


@pytest.mark.parametrize("waits_for", JobWaitsFor)
@pytest.mark.parametrize("call", ["create", "ask", "read", None])
def test_every_state_of_a_job_has_its_words_and_no_line_is_too_long(
    waits_for: JobWaitsFor, call: Literal["create", "ask", "read"] | None
) -> None:
    wide = replace(
        JOB,
        first_offset=10**12,
        last_offset=10**12 + 9999,
        tracks=10_000,
        waits_for=waits_for,
        call=call,
        page=10 if call == "read" else None,
        due_seconds=86_399.0,
    )
    shown = replace(JOBS, tracks=99_999, next_seconds=29.6, estimate_seconds=86_399.0, above_seconds=86_399.0)
    text = as_text(explanation(replace(in_jobs(1023), jobs=replace(shown, jobs=(wide,)))), in_detail=True)
    assert JOB_MEANINGS[waits_for] in text
    assert max(map(len, text.splitlines())) <= COLUMNS, text
    overview = as_text(explanation(replace(in_jobs(1023), jobs=shown)), in_detail=False)
    assert max(map(len, overview.splitlines())) <= COLUMNS, overview


@given(st.text(), st.text())
def test_what_the_api_says_of_a_job_stays_on_its_line(job_id: str, detail: str) -> None:
    plain, foreign = (
        as_text(
            explanation(replace(in_jobs(), jobs=replace(JOBS, jobs=(replace(JOB, job_id=name, detail=error),)))),
            in_detail=True,
        )
        for name, error in (("a", "b"), (job_id, detail or "b"))
    )
    assert len(plain.splitlines()) == len(foreign.splitlines())
    assert all(line.isprintable() for line in foreign.splitlines())
