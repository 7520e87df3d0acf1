"""The plan of a run: drawn from a seed alone, complete, and never two faults of a track at once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.faults import Faults
from tests.chaos.plan import KINDS, TRACKS, plan, shortest

SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.floats(0, 2_000), st.floats(1, 4))
def test_faults_of_a_track_follow_each_other_and_end_in_time(seed: int, seconds: float, calm: float) -> None:
    steps = plan(seed, seconds, KINDS, calm)
    assert steps == plan(seed, seconds, KINDS, calm)
    assert all(step.at >= 0 and step.at + step.seconds <= seconds for step in steps)
    for track, cards in TRACKS.items():
        own = [step for step in steps if step.track == track]
        assert {step.kind for step in own} <= {card.kind for card in cards}
        assert all(earlier.at + earlier.seconds <= later.at for earlier, later in pairwise(own))


@given(SEEDS)
def test_the_shortest_run_has_every_kind(seed: int) -> None:
    assert {step.kind for step in plan(seed, shortest(), KINDS)} == KINDS


@given(SEEDS, st.sets(st.sampled_from(sorted(KINDS))))
def test_only_what_was_asked_for_happens(seed: int, among: set[str]) -> None:
    assert {step.kind for step in plan(seed, 600, among)} == among


def test_every_kind_can_be_done() -> None:
    assert all(callable(getattr(Faults, f"_{kind}", None)) for kind in KINDS)
