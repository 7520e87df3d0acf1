"""One run of a replay submits an event once, also where it is forced."""

from __future__ import annotations

import asyncio

from tests.test_replay_run import AT, INPUT, LETTERS, Broker, replay
from worker.domain.deadletter import dead_letter
from worker.domain.record import Record
from worker.domain.submission import ReadError, Unreadable


def test_a_forced_run_replays_an_event_with_two_dead_letters_once_wherever_its_batches_end() -> None:
    """A worker at least once may write two dead letters for one event; the size of a batch is no reason for two."""
    for batch_records in (100, 1):
        broker = Broker()
        event = Record(INPUT.name, 0, 0, 1_000, b"key", b"{", ())
        for _ in range(2):
            broker.append(dead_letter(event, Unreadable(ReadError.NOT_JSON), topic=LETTERS.name, at=AT), 0)
        tally, _ = asyncio.run(replay(broker, force=True, batch_records=batch_records))
        assert (tally.replayed, tally.already) == (1, 1), batch_records
