"""The fault table of jobs, written down a second time: what may be repeated, and when a job may exist."""

from __future__ import annotations

import pytest

from worker.flow.faults import FAULTS, FaultKind, Repeat
from worker.flow.job_faults import JOB_FAULTS, JobOperation

# Of a creation: how often it is repeated under its key, whether a job may exist, whether admission stops.
CREATE = {
    "connect_failed": ("freely", False, False),
    "throttled": ("freely", False, False),
    "unavailable": ("freely", True, False),
    "server_error": ("freely", True, False),
    "outcome_unknown": ("freely", True, False),
    "not_json": ("freely", True, False),
    "protocol_error": ("attempts", True, False),
    "invalid_request": ("never", False, False),
    "job_unknown": ("never", False, False),
    "key_refused": ("freely", False, True),
    "credits_exhausted": ("freely", False, True),
    "cdn_refused": ("freely", False, True),
    "misconfigured": ("freely", False, True),
}
BOUNDED_QUESTIONS = {"invalid_request": "never", "job_unknown": "attempts"}


@pytest.mark.parametrize("kind", FaultKind)
def test_each_fault_of_a_creation_is_as_written(kind: FaultKind) -> None:
    row = JOB_FAULTS[JobOperation.CREATE][kind]
    assert (row.repeat.value, row.may_exist, row.holds) == CREATE[kind.value]


@pytest.mark.parametrize("kind", FaultKind)
def test_a_question_is_repeated_freely_unless_the_api_answers_it_with_no(kind: FaultKind) -> None:
    row = JOB_FAULTS[JobOperation.READ][kind]
    assert row.repeat.value == BOUNDED_QUESTIONS.get(kind.value, "freely")
    assert row.may_exist


@pytest.mark.parametrize("operation", JobOperation)
def test_a_fault_of_the_operators_stops_jobs_exactly_where_it_stops_single_calls(operation: JobOperation) -> None:
    rows = JOB_FAULTS[operation]
    assert {kind for kind, row in rows.items() if row.holds} == {kind for kind, row in FAULTS.items() if row.holds}


@pytest.mark.parametrize("kind", FaultKind)
def test_whatever_may_have_been_bought_alone_may_exist_as_a_job(kind: FaultKind) -> None:
    """A job that may exist is asked for again under its key; giving the key up would buy its tracks twice."""
    row = JOB_FAULTS[JobOperation.CREATE][kind]
    if FAULTS[kind].may_be_billed and kind is not FaultKind.JOB_UNKNOWN:
        assert row.may_exist
    assert not row.may_exist or row.repeat is not Repeat.NEVER
