"""The gate of admission against a model: what closes it, who may probe, and what opens it again."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from worker.flow.admission import Admission
from worker.flow.faults import FAULTS, FaultKind

HOLDING = st.sampled_from([kind for kind, row in FAULTS.items() if row.holds])
ANY = st.integers(0, 63)


class AdmissionMachine(RuleBasedStateMachine):
    """Calls start, meet a cause that holds, are taken, or tell nothing, in any order."""

    @initialize(probe_seconds=st.sampled_from([1.0, 30.0]))
    def open(self, probe_seconds: float) -> None:
        self.probe_seconds = probe_seconds
        self.admission = Admission(probe_seconds)
        self.now = 100.0
        self.calls: list[float] = []  # when each that is in flight began
        self.probe: float | None = None
        self.held: tuple[FaultKind, str, float, float] | None = None  # kind, detail, since, probe at

    @rule(share=st.sampled_from([0.001, 0.5, 1.0, 1.0]))
    def pass_time(self, share: float) -> None:
        """So much of the pause between probes."""
        self.now += share * self.probe_seconds

    @precondition(lambda self: self.admission.may_start(self.now))
    @rule(times=st.integers(1, 3))
    def start(self, times: int) -> None:
        for _ in range(times):
            if self.admission.may_start(self.now):
                self.start_one()

    def start_one(self) -> None:
        is_probe = self.admission.started()
        assert is_probe is (self.held is not None)
        if is_probe:
            assert self.probe is None, "two probes"
            self.probe = self.now
        else:
            self.calls.append(self.now)

    @precondition(lambda self: self.calls)
    @rule(which=ANY, kind=st.one_of(HOLDING, st.none()))
    def earlier_call_ends(self, which: int, kind: FaultKind | None) -> None:
        """One that is no probe: refused, or taken (None)."""
        started = self.calls.pop(which % len(self.calls))
        if kind is None:
            self.answer(started)
        else:
            self.refuse(kind)

    # One rule, so that not every second step ends the probe: earlier calls must get their turn beside it.
    @precondition(lambda self: self.probe is not None)
    @rule(kind=st.one_of(HOLDING, st.sampled_from(["taken", "tells nothing"])))
    def probe_ends(self, kind: FaultKind | str) -> None:
        assert self.probe is not None
        started, self.probe = self.probe, None
        if isinstance(kind, FaultKind):
            self.refuse(kind)
        elif kind == "taken":
            self.answer(started)
        elif self.held is not None:
            self.held = (*self.held[:3], self.now + self.probe_seconds)
        self.admission.undecided(self.now)  # as its task ends, whatever it was told

    def refuse(self, kind: FaultKind) -> None:
        closing = self.admission.refused(kind, "403", self.now)
        assert closing is (self.held is None)
        since = self.held[2] if self.held is not None else self.now
        self.held = (kind, "403", since, self.now + self.probe_seconds)

    def answer(self, started: float) -> None:
        """Only what began after the closing opens."""
        lifted = self.admission.answered(started)
        if self.held is not None and started > self.held[2]:
            assert lifted is not None
            assert (lifted.kind, lifted.since) == (self.held[0], self.held[2])
            self.held = None
            self.calls += [self.probe] if self.probe is not None else []
            self.probe = None
        else:
            assert lifted is None

    @invariant()
    def agrees_with_the_model(self) -> None:
        held = self.admission.held
        assert (held and (held.kind, held.detail, held.since, held.probe_at)) == self.held
        may = self.held is None or (self.probe is None and self.now >= self.held[3])
        assert self.admission.may_start(self.now) is may

    @invariant()
    def never_closed_for_ever(self) -> None:
        """With no probe in flight, one may start after the pause."""
        if self.probe is None:
            assert self.admission.may_start(self.now + self.probe_seconds)


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
