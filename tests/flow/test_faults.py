"""The fault table against what the API's documentation allows, written down here a second time."""

from __future__ import annotations

import pytest

from worker.flow.faults import FAULTS, FaultKind, Repeat

# How often it may be repeated, whether it may have been bought, whether it is the operator's problem.
EXPECTED = {
    "connect_failed": ("attempts", False, False),
    "throttled": ("freely", False, False),
    "unavailable": ("attempts", False, False),
    "server_error": ("attempts", True, False),
    "outcome_unknown": ("once_unknown", True, False),
    "not_json": ("once_unknown", True, False),
    "protocol_error": ("never", True, False),
    "invalid_request": ("never", False, False),
    "job_unknown": ("once_unknown", True, False),
    "key_refused": ("freely", False, True),
    "credits_exhausted": ("freely", False, True),
    "cdn_refused": ("freely", False, True),
    "misconfigured": ("freely", False, True),
}


@pytest.mark.parametrize("kind", FaultKind)
def test_each_row_is_as_documented(kind: FaultKind) -> None:
    row = FAULTS[kind]
    assert (row.repeat.value, row.may_be_billed, row.holds) == EXPECTED[kind.value]


def test_every_kind_has_its_row_and_every_row_its_reason() -> None:
    assert set(FAULTS) == set(FaultKind)
    assert len({row.reason for row in FAULTS.values()}) == len(FAULTS)


def test_what_may_be_repeated_freely_cannot_have_been_bought() -> None:
    """Repeats without a bound must cost nothing."""
    assert not any(row.may_be_billed for row in FAULTS.values() if row.repeat is Repeat.FREELY)
