"""The decision table covers everything once, and each refusal of `check` has its example."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.analysis import Analysis, AnalysisStatus, OriginClass, Tier, TierValue
from worker.domain.conditions import OriginIn, Score, ScoreAbsent, ScoreIn, StatusIn, TierIn
from worker.domain.policies import BUILT_IN
from worker.domain.policy import NEGATIVE, POSITIVE, UNDECIDED, Outcome, Policy, Rule, rule
from worker.domain.policy_table import Row, dimensions, faults, rows
from worker.domain.policy_text import WIDTH, show

if TYPE_CHECKING:
    from worker.domain.conditions import Condition
    from worker.domain.policy import Kind

HUMAN, SUSPICIOUS = frozenset({TierValue.HUMAN}), frozenset({TierValue.SUSPICIOUS})
HUMAN_SAFE_HUMAN, HUMAN_SAFE_SUSPICIOUS = TierIn(Tier.HUMAN_SAFE, HUMAN), TierIn(Tier.HUMAN_SAFE, SUSPICIOUS)
PRESS_SAFE_HUMAN = TierIn(Tier.PRESS_SAFE, HUMAN)
REVIEW, APPROVE, REJECT = Outcome("manual_review", "r"), Outcome("approve"), Outcome("reject", "r")
GENERATOR = OriginIn(frozenset({OriginClass.GENERATOR}))
OPEN_ORIGINS = OriginIn(frozenset({OriginClass.HUMAN, OriginClass.UNDECIDED}))

THRESHOLDS = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])
CONDITIONS: st.SearchStrategy[tuple[Condition, ...]] = st.lists(
    st.one_of(
        st.builds(TierIn, st.sampled_from(Tier), st.frozensets(st.sampled_from(TierValue), min_size=1)),
        st.builds(ScoreIn, st.sampled_from([Score.GEO, Score.TRUTH]), THRESHOLDS, st.none() | THRESHOLDS),
        st.builds(ScoreAbsent, st.just(Score.GEO)),
        st.builds(OriginIn, st.frozensets(st.sampled_from(OriginClass), min_size=1)),
        st.builds(StatusIn, st.frozensets(st.sampled_from(AnalysisStatus), min_size=1)),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    kind: Kind = draw(st.sampled_from(sorted(POSITIVE)))
    outcome = st.sampled_from([Outcome(POSITIVE[kind]), Outcome(NEGATIVE[kind], "n"), Outcome(UNDECIDED[kind], "u")])
    rules = draw(st.lists(st.builds(Rule, CONDITIONS, outcome), max_size=4).map(tuple))
    return Policy("any", kind, rules, draw(outcome))


TIER = st.sampled_from(TierValue)
SCORE = st.none() | THRESHOLDS | st.floats(0, 1) | st.floats()
ANALYSES = st.builds(
    Analysis,
    st.sampled_from(AnalysisStatus),
    TIER,
    TIER,
    TIER,
    geo_score=SCORE,
    truth_score=SCORE,
    origin=st.sampled_from([None, "human", "suno"]),
    mock=st.booleans(),
)


def _holds(row: Row, policy: Policy, analysis: Analysis) -> bool:
    """Find the analysis in a row by its own reading of the columns: a band reaches up to the next band's value."""
    for axis, cell in zip(dimensions(policy), row.cells, strict=True):
        value: Any = analysis.origin_class if axis.name == "origin" else getattr(analysis, axis.name)
        if axis.name in tuple(Score):
            lower = [each for each in axis.values[:-1] if value is not None and 0 <= value <= 1 and each <= value]
            value = max(lower, default=None)
        if axis.values.index(value) not in cell:
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(policy=policies(), analyses=st.lists(ANALYSES, min_size=5, max_size=20))
def test_every_analysis_is_in_exactly_one_row_and_the_row_tells_its_ruling(
    policy: Policy, analyses: list[Analysis]
) -> None:
    table = rows(policy)
    for analysis in analyses:
        found = [row for row in table if _holds(row, policy, analysis)]
        assert [row.ruling for row in found] == [rule(policy, analysis)]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_rows_cover_every_combination_once(name: str) -> None:
    policy = BUILT_IN[name]
    every = set(itertools.product(*(range(len(axis.values)) for axis in dimensions(policy))))
    covered = Counter(cells for row in rows(policy) for cells in itertools.product(*row.cells))
    assert covered == Counter(every)
    assert sum(row.combinations for row in rows(policy)) == len(every)
    assert len(rows(policy, merge=False)) == len(every)


@settings(max_examples=60, deadline=None)
@given(policy=policies(), analyses=st.lists(ANALYSES, min_size=10, max_size=40))
def test_what_check_lets_pass_keeps_its_promises_for_any_analysis(policy: Policy, analyses: list[Analysis]) -> None:
    found: dict[int | str, str] = {fault.place: fault.text for fault in faults(policy)}
    for analysis in analyses:
        ruling = rule(policy, analysis)
        place = int(ruling.rule.split()[1]) if ruling.rule.startswith("rule") else "default"
        assert "never reached" not in found.get(place, "")
        if ruling.decision == POSITIVE[policy.kind]:
            word = analysis.press_safe if policy.kind == "certification" else analysis.human_safe
            assert word == "human" or place in found
            named = policy.kind == "certification" and analysis.origin_class is OriginClass.GENERATOR
            assert not named or place in found
        if ruling.decision == NEGATIVE[policy.kind]:
            assert "suspicious" in analysis.tiers.values() or place in found


def _faults(*rules: Rule, default: Outcome = REVIEW, kind: Kind = "intake") -> list[tuple[int | str, str]]:
    return [(each.place, each.text.split(", in ")[0]) for each in faults(Policy("x", kind, rules, default))]


def test_check_names_the_rules_that_take_another_rules_cases() -> None:
    wide = Rule((TierIn(Tier.RECALL, frozenset(TierValue) - SUSPICIOUS),), REVIEW)
    rest = Rule((TierIn(Tier.RECALL, SUSPICIOUS),), REVIEW)
    lost = Rule((HUMAN_SAFE_HUMAN,), APPROVE)
    taken = "before it already {} all that it would match"
    assert _faults(wide, rest, lost) == [(3, f"never reached: rule 1 and rule 2 {taken.format('take')}")]
    assert _faults(lost, lost) == [(2, f"never reached: rule 1 {taken.format('takes')}")]


@pytest.mark.parametrize("status", [AnalysisStatus.FAILED, AnalysisStatus.TIMEOUT])
def test_check_refuses_rules_for_what_the_guards_decide(status: AnalysisStatus) -> None:
    [(place, text)] = _faults(Rule((StatusIn(frozenset({status})),), REVIEW))
    assert place == 1
    assert text.startswith("never reached: the engine's own guard")
    assert f"(analysis_{status})" in text


@pytest.mark.parametrize("bounds", [(0.5, 0.5), (0.9, 0.1), (0.0, 0.0)])
def test_check_refuses_conditions_that_nothing_can_meet(bounds: tuple[float, float]) -> None:
    impossible = Rule((ScoreIn(Score.GEO, *bounds),), REVIEW)
    assert _faults(impossible) == [(1, "never reached: no analysis can meet its conditions")]


def test_check_sees_thresholds_that_shut_each_other_out() -> None:
    low, high = Rule((ScoreIn(Score.GEO, 0.0, 0.5),), REVIEW), Rule((ScoreIn(Score.GEO, 0.5),), REVIEW)
    narrow = Rule((ScoreIn(Score.GEO, 0.45, 0.55),), REVIEW)
    assert _faults(low, narrow, high) == []
    assert [place for place, _ in _faults(low, high, narrow)] == [3]


@pytest.mark.parametrize("values", [set(TierValue) - SUSPICIOUS, {TierValue.NOT_EVALUATED}, {TierValue.UNKNOWN}])
def test_check_refuses_an_approval_that_reads_human_into_an_absence(values: set[TierValue]) -> None:
    loose = Rule((TierIn(Tier.HUMAN_SAFE, frozenset(values)),), APPROVE)
    assert _faults(loose) == [(1, "would give approve without the word human at human_safe")]


def test_check_refuses_approval_on_another_tiers_word_or_a_score_alone() -> None:
    recall, score = TierIn(Tier.RECALL, HUMAN), ScoreIn(Score.GEO, 0.0, 0.1)
    assert len(_faults(Rule((recall,), APPROVE))) == 1
    assert len(_faults(Rule((score,), APPROVE))) == 1
    assert _faults(Rule((recall, score, HUMAN_SAFE_HUMAN), APPROVE)) == []


def test_check_refuses_a_default_that_approves_or_rejects() -> None:
    assert _faults(default=APPROVE) == [("default", "would give approve without the word human at human_safe")]
    assert _faults(default=REJECT) == [("default", "would give reject though no tier says suspicious")]


def test_check_is_exact_and_lets_a_default_pass_that_can_only_mean_human() -> None:
    others = Rule((TierIn(Tier.HUMAN_SAFE, frozenset(TierValue) - HUMAN),), REVIEW)
    assert _faults(others, default=APPROVE) == []


def test_check_refuses_a_rejection_without_the_word_suspicious() -> None:
    by_score = Rule((ScoreIn(Score.GEO, 0.9),), REJECT)
    assert _faults(by_score) == [(1, "would give reject though no tier says suspicious")]
    assert _faults(Rule((ScoreIn(Score.GEO, 0.9), HUMAN_SAFE_SUSPICIOUS), REJECT)) == []


def test_check_refuses_certificates_without_press_safe_or_against_the_origin() -> None:
    certified, review = Outcome("certified"), Outcome("review", "r")

    def found(*when: Condition) -> list[str]:
        return [text for _, text in _faults(Rule(when, certified), default=review, kind="certification")]

    assert found(HUMAN_SAFE_HUMAN, OPEN_ORIGINS) == ["would give certified without the word human at press_safe"]
    assert found(PRESS_SAFE_HUMAN) == ["would give certified although the origin names a generator"]
    assert found(PRESS_SAFE_HUMAN, OPEN_ORIGINS) == []
    assert len(found(GENERATOR)) == 2


def test_a_policy_with_too_many_thresholds_is_refused_rather_than_counted_out() -> None:
    steps = [number / 20 for number in range(1, 20)]
    rules = tuple(
        Rule((ScoreIn(score, step), HUMAN_SAFE_SUSPICIOUS), REJECT) for score in Score for step in reversed(steps)
    )
    [(place, text)] = _faults(*rules)
    assert place == "policy"
    assert text.startswith("too many thresholds")


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("every", [False, True])
def test_the_printed_table_is_narrow_enough_and_shows_every_outcome(name: str, every: bool) -> None:
    policy = BUILT_IN[name]
    text = show(policy, every=every)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert policy.digest in text
    for outcome in [*(each.outcome for each in policy.rules), policy.default]:
        assert outcome.decision in text
        assert outcome.reason is None or outcome.reason in text
    for reason in ("analysis_timeout", "analysis_failed", "mock_result"):
        assert reason in text


def test_the_printed_table_of_two_tier() -> None:
    """The words themselves: this is what a policy's owner signs."""
    lines = [" ".join(line.split()) for line in show(BUILT_IN["two-tier"]).splitlines()]
    assert [line for line in lines if line[:1].isdigit() and line.count(" ") > 3][:8] == [
        "128 timeout any manual_review analysis_timeout guard 1",
        "128 failed any manual_review analysis_failed guard 2",
        "64 success yes manual_review mock_result guard 3",
        "16 suspicious any reject human_safe_suspicious rule 1",
        "12 not suspicious suspicious manual_review recall_suspicious_borderline rule 2",
        "4 human human approve - rule 3",
        "24 not suspicious null or unknown manual_review tier_not_evaluated default",
        "8 null or unknown human manual_review tier_not_evaluated default",
    ]


@settings(max_examples=30, deadline=None)
@given(policy=policies())
def test_no_policy_prints_a_line_too_wide(policy: Policy) -> None:
    assert max(map(len, show(policy).splitlines())) <= WIDTH


def test_a_policy_that_asks_for_much_is_folded_into_the_width() -> None:
    asked = (TierIn(Tier.PRESS_SAFE, HUMAN), HUMAN_SAFE_HUMAN, TierIn(Tier.RECALL, HUMAN), OPEN_ORIGINS)
    scores = tuple(ScoreIn(score, 0.25, 0.75) for score in Score)
    text = show(Policy("wide", "intake", (Rule((*asked, *scores), APPROVE),), REVIEW))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "  approve  -  rule 1  (2 combinations)" in text.splitlines()
    assert "truth_score 0.25 to < 0.75" in " ".join(text.split())
