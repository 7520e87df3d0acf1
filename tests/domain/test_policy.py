"""The engine and the built-in policies, against oracles written from the specification and not from the rules."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.analysis import Analysis, AnalysisStatus, OriginClass, TierValue
from worker.domain.conditions import Score, ScoreAbsent
from worker.domain.normalise import analysis_of
from worker.domain.policies import BUILT_IN, DEFAULT
from worker.domain.policy import NEGATIVE, POSITIVE, UNDECIDED, Outcome, Policy, Rule, rule
from worker.domain.policy_table import faults

if TYPE_CHECKING:
    from collections.abc import Callable

HUMAN, SUSPICIOUS = TierValue.HUMAN, TierValue.SUSPICIOUS
Pair = tuple[str, str | None]

GEO_SCORES = (None, 0.0, 0.499, 0.5, 0.501, 1.0)
ORIGINS = (None, "human", "Human ", "uncertain", "unknown", "", "suno", "udio", "some future generator")
WORDS_THAT_NAME_NOBODY = (None, "human", "Human ", "uncertain", "unknown", "")


def _two_tier(a: Analysis) -> Pair:
    if a.human_safe == "suspicious":
        return "reject", "human_safe_suspicious"
    if a.recall == "suspicious":
        return "manual_review", "recall_suspicious_borderline"
    passed = a.human_safe == "human" and a.recall == "human"
    return ("approve", None) if passed else ("manual_review", "tier_not_evaluated")


def _strict(a: Analysis) -> Pair:
    if "suspicious" in (a.human_safe, a.recall):
        return "reject", "human_safe_suspicious" if a.human_safe == "suspicious" else "recall_suspicious"
    if (a.human_safe, a.recall) != ("human", "human") or a.geo_score is None:
        return "manual_review", "tier_not_evaluated"
    return ("manual_review", "geo_score_elevated") if a.geo_score >= 0.5 else ("approve", None)


def _permissive(a: Analysis) -> Pair:
    if a.press_safe == "suspicious":
        return "reject", "press_safe_suspicious"
    return {
        "human": ("approve", None),
        "suspicious": ("manual_review", "human_safe_suspicious"),
        "not_evaluated": ("manual_review", "tier_not_evaluated"),
        "unknown": ("manual_review", "tier_not_evaluated"),
    }[a.human_safe]


def _certification(a: Analysis) -> Pair:
    if a.press_safe == "suspicious":
        return "rejected", "press_safe_suspicious"
    if a.press_safe != "human":
        return "review", "inconclusive"
    named = a.origin not in WORDS_THAT_NAME_NOBODY
    return ("review", "origin_contradicts_tier") if named else ("certified", None)


ORACLES: dict[str, Callable[[Analysis], Pair]] = {
    "two-tier": _two_tier,
    "strict": _strict,
    "permissive": _permissive,
    "certification": _certification,
}


def _oracle(name: str, analysis: Analysis, *, sandbox: bool) -> Pair:
    if analysis.status == "timeout":
        return "manual_review", "analysis_timeout"
    if analysis.status == "failed":
        return "manual_review", "analysis_failed"
    if analysis.mock and not sandbox:
        return "manual_review", "mock_result"
    return ORACLES[name](analysis)


def _every_analysis() -> list[Analysis]:
    return [
        Analysis(status, press, human, recall, geo_score=geo, origin=origin, mock=mock)
        for status in AnalysisStatus
        for mock in (False, True)
        for press, human, recall in itertools.product(TierValue, repeat=3)
        for geo in GEO_SCORES
        for origin in ORIGINS
    ]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_built_in_policy_rules_as_specified_in_every_combination(name: str) -> None:
    for analysis in _every_analysis():
        for sandbox in (False, True):
            ruling = rule(BUILT_IN[name], analysis, sandbox=sandbox)
            assert (ruling.decision, ruling.reason) == _oracle(name, analysis, sandbox=sandbox), analysis


def test_the_built_in_policies_are_the_four_of_the_specification() -> None:
    assert set(BUILT_IN) == set(ORACLES)
    assert DEFAULT == "two-tier"
    assert {name: policy.name for name, policy in BUILT_IN.items()} == {name: name for name in ORACLES}
    assert [name for name, policy in BUILT_IN.items() if policy.kind == "certification"] == ["certification"]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_check_finds_nothing_in_a_built_in_policy(name: str) -> None:
    assert faults(BUILT_IN[name]) == ()


def test_a_policy_is_never_laxer_than_its_name() -> None:
    """What two-tier refuses, strict refuses; what strict approves, two-tier approves."""
    for analysis in _every_analysis():
        strict, two_tier = rule(BUILT_IN["strict"], analysis), rule(BUILT_IN["two-tier"], analysis)
        assert strict.decision == "reject" or two_tier.decision != "reject"
        assert two_tier.decision == "approve" or strict.decision != "approve"


SCORES = st.none() | st.floats() | st.integers(-2, 2).map(float)
ANALYSES = st.builds(
    Analysis,
    status=st.sampled_from(AnalysisStatus),
    press_safe=st.sampled_from(TierValue),
    human_safe=st.sampled_from(TierValue),
    recall=st.sampled_from(TierValue),
    truth_score=SCORES,
    geo_score=SCORES,
    proto_score=SCORES,
    origin=st.none() | st.sampled_from(ORIGINS) | st.text(),
    mock=st.booleans(),
)


@given(analysis=ANALYSES, name=st.sampled_from(sorted(BUILT_IN)), sandbox=st.booleans())
def test_nothing_passes_and_nothing_is_refused_without_the_explicit_word(
    analysis: Analysis, name: str, sandbox: bool
) -> None:
    policy = BUILT_IN[name]
    decision = rule(policy, analysis, sandbox=sandbox).decision
    if decision == POSITIVE[policy.kind]:
        demanded = {
            "two-tier": (analysis.human_safe, analysis.recall),
            "strict": (analysis.human_safe, analysis.recall),
            "permissive": (analysis.human_safe,),
            "certification": (analysis.press_safe,),
        }[name]
        assert set(demanded) == {HUMAN}
    elif decision == NEGATIVE[policy.kind]:
        assert SUSPICIOUS in (analysis.press_safe, analysis.human_safe, analysis.recall)
    else:
        assert decision in {UNDECIDED[policy.kind], "manual_review"}


@given(analysis=ANALYSES, name=st.sampled_from(sorted(BUILT_IN)), sandbox=st.booleans())
def test_whatever_is_decided_is_among_the_outcomes(analysis: Analysis, name: str, sandbox: bool) -> None:
    ruling = rule(BUILT_IN[name], analysis, sandbox=sandbox)
    assert Outcome(ruling.decision, ruling.reason) in BUILT_IN[name].outcomes


@given(analysis=ANALYSES, name=st.sampled_from(sorted(BUILT_IN)))
def test_failures_and_mocks_are_for_people_under_every_policy(analysis: Analysis, name: str) -> None:
    if analysis.mock or analysis.status is not AnalysisStatus.SUCCESS:
        assert rule(BUILT_IN[name], analysis).decision == "manual_review"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.01, 1.01, 73.0])
def test_a_score_outside_its_scale_is_no_evidence(score: float) -> None:
    analysis = Analysis(AnalysisStatus.SUCCESS, human_safe=HUMAN, recall=HUMAN, geo_score=score)
    assert rule(BUILT_IN["strict"], analysis).reason == "tier_not_evaluated"
    missing = Rule((ScoreAbsent(Score.GEO),), Outcome("manual_review", "no_geo_score"))
    own = Policy("own", "intake", (missing,), Outcome("manual_review", "other"))
    assert rule(own, analysis).reason == "no_geo_score"


@pytest.mark.parametrize("origin", ORIGINS)
def test_any_word_that_nobody_documented_names_a_generator(origin: str | None) -> None:
    named = Analysis(AnalysisStatus.SUCCESS, origin=origin).origin_class is OriginClass.GENERATOR
    assert named == (origin not in WORDS_THAT_NAME_NOBODY)


def test_the_tiers_outweigh_the_verdict() -> None:
    """A Udio track was seen with the verdict human and `ai` at human_safe: two-tier refuses it."""
    body = {
        "status": "complete",
        "result": {
            "verdict": "human",
            "ai_probability": 0.7061,
            "tier_verdicts": {"press_safe": "human", "human_safe": "ai", "recall": "ai"},
        },
    }
    analysis = analysis_of(body)
    assert isinstance(analysis, Analysis)
    ruling = rule(BUILT_IN["two-tier"], analysis)
    assert (ruling.decision, ruling.reason, ruling.rule) == ("reject", "human_safe_suspicious", "rule 1")


def test_a_policy_without_rules_gives_its_default_to_everything() -> None:
    policy = Policy("all-to-people", "intake", (), Outcome("manual_review", "we_listen_to_all"))
    assert {rule(policy, each).rule for each in _every_analysis()} == {"guard 1", "guard 2", "guard 3", "default"}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_digest_ignores_the_name_and_sees_everything_else(name: str) -> None:
    policy = BUILT_IN[name]
    assert policy.digest.startswith("sha256:")
    assert len(policy.digest) == len("sha256:") + 64
    changed = [
        dataclasses.replace(policy, rules=policy.rules[::-1]),
        dataclasses.replace(policy, rules=policy.rules[:-1]),
        dataclasses.replace(policy, default=Outcome(policy.default.decision, "other")),
        dataclasses.replace(policy, kind="intake" if policy.kind == "certification" else "certification"),
    ]
    assert dataclasses.replace(policy, name="renamed").digest == policy.digest
    assert len({policy.digest, *(each.digest for each in changed)}) == len(changed) + 1


def test_no_two_built_in_policies_share_a_digest() -> None:
    assert len({policy.digest for policy in BUILT_IN.values()}) == len(BUILT_IN)
