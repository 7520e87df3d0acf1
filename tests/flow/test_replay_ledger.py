"""The ledger knows exactly what its entries say, survives compaction, and refuses what it cannot read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.replay import Origin
from worker.flow.commit_point import CommitPoint, encode
from worker.flow.replay_ledger import BLOCK, LedgerError, ReplayLedger

ORIGINS = st.builds(
    Origin,
    topic=st.sampled_from(["input", "other.input"]),
    partition=st.integers(0, 2),
    offset=st.one_of(st.integers(0, 40), st.integers(BLOCK - 20, BLOCK + 20), st.integers(0, 2**50)),
)


@given(batches=st.lists(st.lists(ORIGINS, max_size=8), max_size=8), others=st.lists(ORIGINS, max_size=8))
@settings(max_examples=200)
def test_after_compaction_it_knows_what_was_replayed_and_nothing_else(
    batches: list[list[Origin]], others: list[Origin]
) -> None:
    """Compaction keeps the latest entry of each key: a ledger that learns only these knows as much."""
    topic: dict[bytes, bytes] = {}
    ledger = ReplayLedger()
    for batch in batches:
        entries = ledger.entries(batch)
        for key, value in entries.items():
            ledger.learn(key, value)
        topic.update(entries)
    heir = ReplayLedger()
    for key, value in topic.items():
        heir.learn(key, value)
    done = {origin for batch in batches for origin in batch}
    assert all(origin in heir and origin in ledger for origin in done)
    assert not any(origin in heir for origin in set(others) - done)


def test_writing_entries_changes_nothing_yet() -> None:
    """Whether the transaction commits is not known when they are written."""
    ledger, origin = ReplayLedger(), Origin("input", 0, 5)
    ledger.entries([origin])
    assert origin not in ledger


def test_a_full_block_fits_into_one_entry() -> None:
    ledger = ReplayLedger()
    [value] = ledger.entries(Origin("input", 0, BLOCK + offset) for offset in range(0, BLOCK, 2)).values()
    assert len(value) < 4_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"ti1:x"),
        (b"input/0", b"ti1:x"),
        (b"input/0/5", encode(CommitPoint(5, frozenset({6}))).encode()),
        (b"input/0/0", None),
        (b"input/0/0", b""),
        (b"input/0/0", b"foreign"),
        (b"input/0/0", b"\xff"),
        (b"input/0/0", b"ti9:abc"),
        (b"input/0/0", encode(CommitPoint(0, frozenset({6}))).encode()[:-1]),
        (b"input/0/0", encode(CommitPoint(BLOCK, frozenset({BLOCK + 6}))).encode()),
        (b"input/0/0", encode(CommitPoint(0, frozenset({BLOCK}))).encode()),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_changed(key: bytes | None, value: bytes | None) -> None:
    ledger = ReplayLedger()
    with pytest.raises(LedgerError):
        ledger.learn(key, value)
    assert repr(ledger) == "<ReplayLedger blocks=0 events=0>"
