"""The breaker against a model: what opens it, who may probe, how it recovers, and who has no say."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from worker.flow.breaker import BUCKETS, SPEAKS, Breaker, BreakerPolicy, Recent, Speech, State, Ticket
from worker.flow.faults import FAULTS, FaultKind

FAILURES = st.sampled_from([kind for kind, speech in SPEAKS.items() if speech is Speech.FAILURE])
ANY = st.integers(0, 1023)
SMALL = BreakerPolicy(
    consecutive=4,
    share=0.6,
    min_calls=6,
    window_seconds=20.0,
    probe_seconds=4.0,
    probe_growth=2.0,
    probe_max_seconds=15.0,
    concurrency=6,
)


@dataclass
class Track:
    """What the model knows of one start. `said`: a reply of it came."""

    ticket: Ticket
    opening: int
    probe: bool
    ramp: bool
    said: bool = False


class BreakerMachine(RuleBasedStateMachine):
    """Tracks start, are answered, fail and end, in any order, over several openings."""

    @initialize(policy=st.sampled_from([SMALL, BreakerPolicy(consecutive=2, min_calls=3, concurrency=1)]))
    def begin(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.breaker = Breaker(policy)
        self.now = 1000.0
        self.tracks: list[Track] = []
        self.openings = 0
        self.replies: list[tuple[float, bool]] = []  # since it was last closed: when, and whether it failed
        self.limit = 0
        self.pause = policy.probe_seconds
        self.since: float | None = None
        self.last: tuple[FaultKind, str] | None = None
        self.probe_at = 0.0

    def awaited(self) -> int:
        return sum(t.opening == self.openings and not t.said and (t.probe or t.ramp) for t in self.tracks)

    def may(self) -> bool:
        if self.since is None:
            return True
        return self.awaited() < self.limit if self.limit else self.awaited() == 0 and self.now >= self.probe_at

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.0, 4.0, 8.0, 15.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.may())
    @rule(times=st.integers(1, 8))
    def start(self, times: int) -> None:
        for _ in range(times):
            if self.breaker.may_start(self.now):
                ticket = self.breaker.start()
                probe, ramp = self.since is not None and not self.limit, bool(self.limit)
                assert ticket.probe is probe
                self.tracks.append(Track(ticket, self.openings, probe, ramp))

    # Several steps in one, so that half-open is no rare state.
    @precondition(lambda self: self.since is not None and not self.limit and not self.awaited())
    @rule()
    def probe_succeeds(self) -> None:
        self.now = max(self.now, self.probe_at)
        self.start(1)
        self.answer(len(self.tracks) - 1)
        self.start(8)

    @precondition(lambda self: self.tracks)
    @rule(which=ANY)
    def answer(self, which: int) -> None:
        track = self.tracks[which % len(self.tracks)]
        lifted = self.breaker.answered(track.ticket, self.now)
        closed = self.model_answer(track)
        assert (lifted is not None) is closed

    def model_answer(self, track: Track) -> bool:
        """Whether this closed it."""
        first, track.said = not track.said, True
        if track.opening != self.openings:
            return False
        if self.since is None:
            self.replies.append((self.now, False))
        elif first:
            self.limit = max(1, self.limit) * 2
        if self.limit <= self.policy.concurrency:
            return False
        self.since, self.limit, self.replies, self.pause = None, 0, [], self.policy.probe_seconds
        return True

    @precondition(lambda self: self.tracks)
    @rule(which=ANY, kind=FAILURES)
    def fail(self, which: int, kind: FaultKind) -> None:
        track = self.tracks[which % len(self.tracks)]
        began = self.breaker.failed(track.ticket, kind, f"detail {which}", self.now)
        assert began is self.model_fail(track, kind, f"detail {which}")

    def model_fail(self, track: Track, kind: FaultKind, detail: str) -> bool:
        """Whether an outage began."""
        track.said = True
        if track.opening != self.openings:
            return False
        begins = self.since is None
        if begins:
            self.replies.append((self.now, True))
            if not self.is_too_much():
                return False
            self.since = self.now
        else:
            self.pause = min(self.policy.probe_max_seconds, self.pause * self.policy.probe_growth)
        self.openings, self.limit, self.last = self.openings + 1, 0, (kind, detail)
        self.probe_at = self.now + self.pause
        return begins

    def is_too_much(self) -> bool:
        """From the whole history, without buckets but for where the window begins."""
        run = 0
        while run < len(self.replies) and self.replies[-1 - run][1]:
            run += 1
        width = self.policy.window_seconds / BUCKETS
        recent = [failed for at, failed in self.replies if at // width > self.now // width - BUCKETS]
        failures = sum(recent)
        proportional = len(recent) >= self.policy.min_calls and failures >= self.policy.share * len(recent)
        return run >= self.policy.consecutive or proportional

    @precondition(lambda self: self.tracks)
    @rule(which=ANY)
    def end(self, which: int) -> None:
        track = self.tracks.pop(which % len(self.tracks))
        if track.opening == self.openings and track.probe and not track.said and self.since is not None:
            self.probe_at = self.now + self.pause
        self.breaker.undecided(track.ticket, self.now)

    @invariant()
    def agrees_with_the_model(self) -> None:
        outage = self.breaker.outage
        assert (outage.since if outage else None) == self.since
        if outage is not None:
            assert (outage.kind, outage.detail) == self.last
        expected = State.CLOSED if self.since is None else State.HALF_OPEN if self.limit else State.OPEN
        assert self.breaker.state is expected
        limits = {State.CLOSED: None, State.OPEN: 1, State.HALF_OPEN: self.limit}
        assert self.breaker.limit == limits[expected]
        assert self.breaker.may_start(self.now) is self.may()
        waits = expected is State.OPEN and not self.awaited()
        assert self.breaker.probe_at == (self.probe_at if waits else None)
        assert expected.value in repr(self.breaker)

    @invariant()
    def never_a_herd(self) -> None:
        """So many wait for their first reply as the limit says, all of them together."""
        if self.breaker.limit is not None:
            assert self.awaited() <= self.breaker.limit

    @invariant()
    def never_open_for_ever(self) -> None:
        """With none under way, one may start within the longest pause."""
        if not self.awaited():
            assert self.breaker.may_start(self.now + self.policy.probe_max_seconds)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)


def test_every_fault_says_something_of_the_service_or_nothing() -> None:
    """A new kind has to be classified; what holds admission or ends one track never opens the breaker."""
    assert set(SPEAKS) == set(FaultKind)
    failures = {kind for kind, speech in SPEAKS.items() if speech is Speech.FAILURE}
    assert FaultKind.THROTTLED not in failures
    assert not any(FAULTS[kind].holds for kind in failures)


TIMES = st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=120)


@given(TIMES, st.sampled_from([1.0, 30.0]))
def test_the_window_counts_what_is_recent_in_bounded_memory(steps: list[tuple[float, bool]], seconds: float) -> None:
    """All of nine tenths of the window, nothing older than the window."""
    recent, now, seen = Recent(seconds), 5.0, []
    for wait, failed in steps:
        now += wait
        recent.add(now, failed=failed)
        seen.append((now, failed))
        calls, failures = recent.count(now)
        sure = [f for at, f in seen if now - at < seconds * (BUCKETS - 1) / BUCKETS - 1e-9]
        most = [f for at, f in seen if now - at <= seconds + 1e-9]
        assert len(sure) <= calls <= len(most)
        assert sum(sure) <= failures <= sum(most)
        assert len(recent._buckets) <= BUCKETS
    assert recent.count(now + seconds + 1) == (0, 0)


def opened(policy: BreakerPolicy, now: float = 0.0) -> Breaker:
    breaker = Breaker(policy)
    tickets = [breaker.start() for _ in range(policy.consecutive)]
    assert [breaker.failed(each, FaultKind.UNAVAILABLE, "503", now) for each in tickets][-1]
    return breaker


def test_pauses_between_failing_probes_grow_to_their_bound() -> None:
    breaker, pauses = opened(BreakerPolicy()), []
    for _ in range(7):
        at = breaker.probe_at
        assert at is not None
        breaker.failed(breaker.start(), FaultKind.CONNECT_FAILED, "refused", at)
        pauses.append((breaker.probe_at or 0) - at)
    assert pauses == [10, 20, 40, 60, 60, 60, 60]


def test_after_a_recovery_the_pauses_begin_anew() -> None:
    breaker = opened(BreakerPolicy(concurrency=1))
    breaker.failed(breaker.start(), FaultKind.CONNECT_FAILED, "refused", 5.0)
    assert breaker.probe_at == 15.0
    assert breaker.answered(breaker.start(), 15.0)
    for _ in range(10):
        breaker.failed(breaker.start(), FaultKind.CONNECT_FAILED, "refused", 20.0)
    assert breaker.probe_at == 25.0


@pytest.mark.parametrize("concurrency", [1, 2, 3, 64, 256, 1000])
def test_recovery_doubles_and_ends(concurrency: int) -> None:
    """1, 2, 4, 8 … and closed beyond the concurrency: as many answers as doublings."""
    breaker = opened(BreakerPolicy(concurrency=concurrency))
    limits: list[int] = []
    while breaker.state is not State.CLOSED:
        assert breaker.may_start(math.inf)
        limits.append(breaker.limit or 0)
        lifted = breaker.answered(breaker.start(), 100.0)
    assert limits == [2**n for n in range(len(limits))]
    assert limits[-1] <= concurrency < 2 ** len(limits)
    assert lifted is not None
    assert lifted.since == 0.0


def test_half_open_only_first_replies_widen_and_the_limit_is_exact() -> None:
    breaker = opened(BreakerPolicy())
    probe = breaker.start()
    breaker.answered(probe, 5.0)
    breaker.answered(probe, 6.0)
    breaker.undecided(probe, 7.0)
    assert breaker.limit == 2
    first, second = breaker.start(), breaker.start()
    assert not breaker.may_start(math.inf)
    breaker.undecided(first, 8.0)
    breaker.answered(first, 8.0)
    assert breaker.limit == 2
    breaker.answered(second, 9.0)
    assert breaker.limit == 4
    breaker.failed(second, FaultKind.UNAVAILABLE, "503", 10.0)
    assert breaker.state is State.OPEN


def test_exactly_the_share_of_exactly_enough_calls_opens() -> None:
    """12 of 20."""
    breaker = Breaker(BreakerPolicy(consecutive=99))
    for _ in range(8):
        breaker.answered(breaker.start(), 0.0)
    failures = [breaker.failed(breaker.start(), FaultKind.SERVER_ERROR, "500", 0.0) for _ in range(12)]
    assert failures == [False] * 11 + [True]


@pytest.mark.parametrize("seed", range(5))
def test_a_service_that_fails_one_call_in_fifty_recovers(seed: int) -> None:
    """Any failure on the way opens again; still it gets there within a few probes."""
    rng, now = random.Random(seed), 0.0  # noqa: S311 - no secret: a seeded test
    breaker = opened(BreakerPolicy(concurrency=256))
    for _ in range(200):
        now = max(now, breaker.probe_at or now)
        if rng.random() < 0.02:
            breaker.failed(breaker.start(), FaultKind.SERVER_ERROR, "500", now)
        else:
            breaker.answered(breaker.start(), now)
    assert breaker.state is State.CLOSED
    assert now < 600
