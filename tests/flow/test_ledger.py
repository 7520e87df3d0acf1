"""The ledger against a model of the broker, through crashes, failed and doubtful commits, and changes of owner."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.flow.broker_model import JOB_IDS, Broker
from tests.flow.gathering_model import GatheringOwner, Set, drain_sets
from worker.flow.commit_point import WINDOW
from worker.flow.entry import Limits, State
from worker.flow.job_book import BookPolicy

KEYS = st.sampled_from([None, None, b"", b"a", b"b"])
GAPS = st.sampled_from([0, 0, 0, 1, 3, 40, WINDOW + 1])
LIMITS = st.builds(
    Limits,
    window=st.sampled_from([1, 2, 5, 64, 64, WINDOW, WINDOW]),
    unpublished=st.sampled_from([1, 3, 4096]),
    batch_records=st.sampled_from([1, 2, 1024]),
    batch_bytes=st.sampled_from([1, 40, 8 << 20]),
    job_reserve_bytes=st.sampled_from([0, 20, 800]),
)
POLICIES = st.builds(BookPolicy, max_items=st.sampled_from([1, 3, 9, 20, 20]), open_jobs=st.sampled_from([1, 2, 3]))
ANY = st.integers(0, 63)  # picks one of what there is


class LedgerMachine(RuleBasedStateMachine):
    """Every record is published exactly once, in the order of its key, whatever happens in between."""

    @initialize(first=st.sampled_from([0, 7, 1 << 40]), limits=LIMITS, policy=POLICIES)
    def open(self, first: int, limits: Limits, policy: BookPolicy) -> None:
        self.broker, self.limits, self.policy = Broker(first), limits, policy
        self.known: dict[bytes, Set] = {}
        self.api: dict[bytes, str] = {}  # the job of each key
        self.owner = GatheringOwner(self.broker, limits, policy, self.known)
        self.zombies: list[GatheringOwner] = []

    def pick(self, which: int, *states: State) -> int | None:
        offsets = self.owner.of(*states)
        return offsets[which % len(offsets)] if offsets else None

    # Few rules, most of them coarse: what goes wrong needs a hole, a commit and a new owner in one short history.

    @rule(records=st.lists(st.tuples(GAPS, KEYS, st.integers(0, 9)), min_size=1, max_size=9), count=st.integers(0, 9))
    def produce(self, records: list[tuple[int, bytes | None, int]], count: int) -> None:
        for gap, key, size in records:
            self.broker.append(gap, key, size)
        self.owner.deliver(self.broker.fetch(self.owner.ledger.next_offset, count))

    @rule(count=st.integers(0, 9), back=st.integers(0, 20))
    def deliver(self, count: int, back: int) -> None:
        """From where the ledger reads next, as after a return; or from before: known records come once more."""
        known = [at for at in self.broker.log if at < self.owner.next_offset][-back:] if back > 10 else []
        position = known[0] if known else self.owner.ledger.next_offset
        self.owner.deliver(self.broker.fetch(position, len(known) + count))

    @rule(which=ANY)
    def compact(self, which: int) -> None:
        """A record that was not delivered to this owner vanishes, with the job that a former one bought for it."""
        ahead = [at for at in self.broker.log if at >= self.owner.next_offset and at not in self.broker.published]
        if ahead:
            del self.broker.log[ahead[which % len(ahead)]]

    @rule(times=st.integers(1, 6), finish=st.lists(st.tuples(ANY, st.integers(0, 30)), max_size=4), alone=st.booleans())
    def start(self, times: int, finish: list[tuple[int, int]], *, alone: bool) -> None:
        for _ in range(times):
            self.owner.start(only_alone=alone)
        for which, size in finish:
            if (offset := self.pick(which, State.RUNNING)) is not None:
                self.owner.finish(offset, size)

    @rule(which=ANY, how=st.sampled_from(["wait", "resume", "leave", "start"]))
    def change_one(self, which: int, how: str) -> None:
        """Of any state: what does not fit it must change nothing."""
        if (offset := self.pick(which, *State)) is not None:
            change = {"wait": self.owner.wait, "resume": self.owner.resume, "leave": self.owner.leave_alone}
            change.get(how, lambda _: self.owner.start())(offset)

    @rule(which=ANY, job_id=st.one_of(JOB_IDS, JOB_IDS, st.none()), late=st.booleans())
    def note_job(self, which: int, job_id: str | None, *, late: bool) -> None:
        """Bought, or (None) lost; late: for a record that does not run, which changes nothing."""
        if (offset := self.pick(which, *State) if late else self.pick(which, State.RUNNING)) is not None:
            self.owner.note_job(offset, job_id)

    # Jobs of many tracks.

    @rule(
        alone=st.lists(ANY, max_size=3),
        times=st.integers(1, 3),
        commits=st.booleans(),
        accepts=st.lists(ANY, max_size=2),
        results=st.lists(st.tuples(ANY, st.integers(0, 30)), max_size=9),
        splits=st.lists(ANY, max_size=1),
    )
    def gather(
        self,
        alone: list[int],
        times: int,
        *,
        commits: bool,
        accepts: list[int],
        results: list[tuple[int, int]],
        splits: list[int],
    ) -> None:
        """Jobs are gathered, perhaps committed and made; results come in any order; some are refused or lost."""
        self.owner.deliver(self.broker.fetch(self.owner.ledger.next_offset, 30))
        for which in alone:
            self.change_one(which, "leave")
        for _ in range(times):
            self.owner.gather()
        self.owner.unblock()
        if commits:
            self.publish(commits=True, learns=True)
        jobs = list(self.owner.book.jobs)
        for which in accepts if jobs else []:
            job = jobs[which % len(jobs)]
            key = job.intent.key
            self.owner.accept(job, self.api.setdefault(key, f"job-{len(self.api)}"))
        for which, size in results:
            if (offset := self.pick(which, State.GATHERED, State.HELD)) is not None:
                self.owner.result(offset, size)
        for which in splits if jobs else []:
            self.owner.split(jobs[which % len(jobs)])

    # The publication: other rules run between its steps, as they do while a lane awaits the broker.

    @rule(commits=st.booleans(), learns=st.booleans())
    def publish(self, *, commits: bool, learns: bool) -> None:
        """It fails or commits, and the answer comes, or is lost on the way: a later step learns, or tries again."""
        if self.owner.batch is None:
            self.owner.snapshot()
        if self.owner.batch is not None:
            self.owner.publish(applied=commits)
            if learns:
                self.owner.learn()

    # Owners.

    @rule(limits=st.one_of(st.none(), st.none(), LIMITS), moves=st.booleans())
    def change_owner(self, limits: Limits | None, *, moves: bool) -> None:
        """A crash, or the partition moves while the old owner's calls and its publication are still under way."""
        self.limits = limits or self.limits
        if moves:
            self.owner.seal()
            self.zombies.append(self.owner)
        self.owner = GatheringOwner(self.broker, self.limits, self.policy, self.known)
        self.owner.deliver(self.broker.fetch(self.owner.next_offset, 5))

    @precondition(lambda self: self.zombies)
    @rule(which=ANY)
    def zombie_wakes(self, which: int) -> None:
        self.zombies[which % len(self.zombies)].wake_as_zombie()

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.owner.check()
        for zombie in self.zombies:
            zombie.check_sealed()

    def teardown(self) -> None:
        if hasattr(self, "owner"):
            drain_sets(self.owner, by_jobs=len(self.broker.log) % 2 == 0)
            assert set(self.broker.log) <= set(self.broker.published)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
