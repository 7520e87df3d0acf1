"""Policy files: what is written is what is read, and every mistake is named with its line and rule."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import worker.domain
from worker.domain.analysis import AnalysisStatus, OriginClass, Tier, TierValue
from worker.domain.conditions import OriginIn, Score, ScoreAbsent, ScoreIn, StatusIn, TierIn
from worker.domain.policies import BUILT_IN
from worker.domain.policy import NEGATIVE, POSITIVE, UNDECIDED, Outcome, Policy, Rule
from worker.domain.policy_file import BUILT_IN_NAMES, MAX_CHARACTERS, MAX_RULES, PolicyError, load, parse

if TYPE_CHECKING:
    from worker.domain.conditions import Condition
    from worker.domain.policy import Kind

THRESHOLDS = st.floats(0, 1).map(abs)  # abs: minus zero is no threshold that a file can spell
REASONS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
SCORE_CONDITIONS = st.one_of(
    st.builds(ScoreAbsent, st.sampled_from(Score)),
    st.builds(ScoreIn, st.sampled_from(Score), THRESHOLDS, st.none() | THRESHOLDS),
)
WORD_CONDITIONS = st.one_of(
    st.builds(TierIn, st.sampled_from(Tier), st.frozensets(st.sampled_from(TierValue), min_size=1)),
    st.builds(OriginIn, st.frozensets(st.sampled_from(OriginClass), min_size=1)),
    st.builds(StatusIn, st.frozensets(st.sampled_from(AnalysisStatus), min_size=1)),
)
CONDITIONS = st.lists(
    SCORE_CONDITIONS | WORD_CONDITIONS, min_size=1, max_size=6, unique_by=lambda each: each.subject
).map(tuple)


@st.composite
def outcomes(draw: st.DrawFn, kind: Kind) -> Outcome:
    decision = draw(st.sampled_from([POSITIVE[kind], UNDECIDED[kind], NEGATIVE[kind]]))
    return Outcome(decision, None if decision == POSITIVE[kind] else draw(REASONS))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    kind: Kind = draw(st.sampled_from(sorted(POSITIVE)))
    rules = draw(st.lists(st.builds(Rule, CONDITIONS, outcomes(kind)), max_size=5).map(tuple))
    name = draw(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True))
    return Policy(name, kind, rules, draw(outcomes(kind)))


def _written_condition(condition: Condition) -> str:
    if isinstance(condition, ScoreIn | ScoreAbsent):
        return f'{condition.subject} = "{" and ".join(condition.words)}"'
    words = ", ".join(f'"{word}"' for word in condition.words)
    return f"{condition.subject} = [{words}]"


def _written_outcome(outcome: Outcome) -> str:
    return f'decision = "{outcome.decision}"\n' + (f'reason = "{outcome.reason}"\n' if outcome.reason else "")


def _written(policy: Policy) -> str:
    """Write the policy as a file, as people do."""
    rules = [
        f"[[rules]]\nwhen = {{ {', '.join(map(_written_condition, each.when))} }}\n{_written_outcome(each.outcome)}\n"
        for each in policy.rules
    ]
    default = f"[default]\n{_written_outcome(policy.default)}"
    return f'name = "{policy.name}"\nkind = "{policy.kind}"\n\n{"".join(rules)}{default}'


def _reformatted(text: str) -> str:
    """Write the same policy with other quotes, comments, blank lines, dotted keys and an indented body."""
    dotted = re.sub(r"when = \{ (.*) \}", lambda match: _dotted(match[1]), text)
    lines = [f"  {line}   # a comment" if line else "\n# [[rules]]" for line in dotted.splitlines()]
    return "\n".join(lines).replace('"', "'").replace(">= ", ">=")


def _dotted(inline: str) -> str:
    return "\n".join(f"when.{each}" for each in reversed(re.split(r", (?=[a-z_]+ = )", inline)))


@given(policy=policies())
def test_what_is_written_is_what_is_read(policy: Policy) -> None:
    read = parse(_written(policy), source="own.toml")
    assert read == policy
    assert read.digest == policy.digest


@given(policy=policies())
def test_formatting_and_comments_leave_the_digest_alone(policy: Policy) -> None:
    assert parse(_reformatted(_written(policy)), source="own.toml").digest == policy.digest


@given(one=policies(), other=policies())
def test_the_digest_tells_apart_whatever_decides_differently(one: Policy, other: Policy) -> None:
    def form(policy: Policy) -> object:
        rules = [(frozenset(each.when), each.outcome) for each in policy.rules]
        return policy.kind, rules, policy.default

    assert (form(one) == form(other)) == (one.digest == other.digest)


@given(policy=policies(), data=st.data())
def test_the_digest_sees_every_single_change(policy: Policy, data: st.DataObject) -> None:
    assume(policy.rules)
    at = data.draw(st.integers(0, len(policy.rules) - 1))
    each = policy.rules[at]
    condition = data.draw(SCORE_CONDITIONS | WORD_CONDITIONS)
    changed = [
        Rule(each.when[1:], each.outcome),
        Rule(each.when, Outcome(each.outcome.decision, "another_reason_than_any")),
    ]
    if condition != each.when[0]:
        changed.append(Rule((condition, *each.when[1:]), each.outcome))
    for new in changed:
        rules = (*policy.rules[:at], new, *policy.rules[at + 1 :])
        assert dataclasses.replace(policy, rules=rules).digest != policy.digest


GOOD = """\
name = "mine"
kind = "intake"

[[rules]]
when = { human_safe = "suspicious" }
decision = "reject"
reason = "human_safe_suspicious"

[[rules]]
when = { human_safe = "human", geo_score = "< 0.5" }
decision = "approve"

[default]
decision = "manual_review"
reason = "tier_not_evaluated"
"""


def _problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(text, source="own.toml")
    assert str(caught.value).splitlines() == [f"own.toml: {problem}" for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


def test_a_sound_file_is_loaded() -> None:
    assert load(GOOD, source="own.toml").name == "mine"


MISTAKES = [
    ('name = "mine"', "", "line 1, policy: name: expected 1-64 of"),
    ('name = "mine"', 'name = "My Policy"', "line 1, policy: name: expected 1-64 of"),
    ('name = "mine"', 'name = "strict"', "line 1, policy: name: strict is built in"),
    ('kind = "intake"', 'kind = "both"', 'line 2, policy: kind: expected "intake" or "certification"'),
    ('kind = "intake"', 'kind = "intake"\nmood = 1', "line 3, policy: 'mood' is not known here; expected name, kind"),
    ('"suspicious"', '"suspicous"', "line 5, rule 1: human_safe: 'suspicous' is none of human, suspicious, not_"),
    ('"suspicious"', "[]", "line 5, rule 1: human_safe: expected one or more of human"),
    ('"suspicious"', "true", "line 5, rule 1: human_safe: True is none of"),
    ('{ human_safe = "suspicious" }', "{}", "line 5, rule 1: when: expected at least one condition"),
    ('when = { human_safe = "suspicious" }', "", "line 4, rule 1: when: expected at least one condition"),
    ('decision = "reject"', 'decision = "refuse"', "line 6, rule 1: decision: expected one of approve, manual_review,"),
    ('decision = "reject"', 'decision = "rejected"', "line 6, rule 1: decision: expected one of approve,"),
    ('reason = "human_safe_suspicious"', "", "line 4, rule 1: reason: expected 1-64"),
    ('reason = "human_safe_suspicious"', 'reason = "Too Loud"', "line 7, rule 1: reason: expected 1-64"),
    ('reason = "human_safe_suspicious"', 'reason = "a"\nseverity = 3', "line 8, rule 1: 'severity' is not known"),
    ('human_safe = "human"', 'human_sfe = "human"', "line 10, rule 2: when: 'human_sfe' is not known here"),
    ('"< 0.5"', "0.5", "line 10, rule 2: geo_score: 0.5 is none of"),
    ('"< 0.5"', '"<= 0.5"', "line 10, rule 2: geo_score: '<= 0.5' is none of"),
    ('"< 0.5"', '"< 50"', "line 10, rule 2: geo_score: '< 50' is none of"),
    ('"< 0.5"', '"< nan"', "line 10, rule 2: geo_score: '< nan' is none of"),
    ('"< 0.5"', '"< 0.5 and < 0.6"', "line 10, rule 2: geo_score: '< 0.5 and < 0.6' is none of"),
    ('decision = "approve"', 'decision = "approve"\nreason = "nice"', "line 12, rule 2: reason: approve takes none"),
    ('decision = "manual_review"', 'decision = "review"', "line 14, default: decision: expected one of"),
    ('reason = "tier_not_evaluated"', "", "line 13, default: reason: expected 1-64"),
    ('reason = "tier_not_evaluated"', 'reason = "x"\nwhen = {}', "line 16, default: 'when' is not known here"),
    ("[default]", "[defaults]", "line 15, default: missing: every policy needs a [default]"),
    ("[default]", "[default", "line 13, rule 2: not TOML: "),
    ("[default]", '[default]\nnote = """', "line 16, rule 2: not TOML: "),
]


@pytest.mark.parametrize(("old", "new", "problem"), MISTAKES, ids=[problem for *_, problem in MISTAKES])
def test_a_mistake_is_named_with_its_line_and_rule(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    assert any(each.startswith(problem) for each in _problems(GOOD.replace(old, new, 1)))


def test_all_mistakes_are_named_at_once_in_the_order_of_lines() -> None:
    text = GOOD.replace('"suspicious"', '"x"').replace('"< 0.5"', '"y"').replace('"mine"', '"Z"')
    assert [problem.split(":")[0] for problem in _problems(text)] == [
        "line 1, policy",
        "line 5, rule 1",
        "line 10, rule 2",
    ]


def test_a_key_in_a_comment_is_not_where_the_mistake_is() -> None:
    text = GOOD.replace("[[rules]]\n", '[[rules]]\n# decision = "was once reject"\n', 1)
    wrong = text.replace('decision = "reject"', 'decision = "refuse"')
    assert _problems(wrong)[0].startswith("line 7, rule 1: decision")


def test_a_header_inside_a_text_is_no_header() -> None:
    """The line of a rule is found although a multi-line string before it looks like one."""
    text = GOOD.replace('name = "mine"', 'name = """\n[[rules]]\n"""')
    assert _problems(text)[0].startswith("line 1, policy: name")
    assert not any("header" in problem for problem in _problems(text))


@pytest.mark.parametrize("rules", ["rules = 3", "rules = [3]", 'rules = [{ when = { recall = "human" } }]'])
def test_rules_stand_under_headers(rules: str) -> None:
    text = f'name = "mine"\nkind = "intake"\n{rules}\n[default]\ndecision = "manual_review"\nreason = "x"\n'
    assert _problems(text) == ["line 3, policy: rules: write each rule under a [[rules]] header of its own"]


def test_size_is_bounded() -> None:
    assert _problems("#" * (MAX_CHARACTERS + 1)) == [f"line 1, policy: longer than {MAX_CHARACTERS} characters"]
    one = '[[rules]]\nwhen = { recall = "suspicious" }\ndecision = "reject"\nreason = "x"\n'
    text = GOOD.replace("[default]", one * MAX_RULES + "[default]")
    assert f"at most {MAX_RULES}, found {MAX_RULES + 2}" in _problems(text)[0]


@given(text=st.text())
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    with pytest.raises(PolicyError):
        load(text, source="own.toml")


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_a_built_in_file_under_another_name_is_a_sound_own_policy(name: str) -> None:
    text = (Path(worker.domain.__path__[0]) / "builtin" / f"{name}.toml").read_text(encoding="utf-8")
    own = load(text.replace(f'name = "{name}"', 'name = "copied"'), source="own.toml")
    assert own.digest == BUILT_IN[name].digest


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ("present", ScoreIn(Score.GEO)),
        (">= 0", ScoreIn(Score.GEO)),
        (">=0.50", ScoreIn(Score.GEO, 0.5)),
        ("<1", ScoreIn(Score.GEO, 0.0, 1.0)),
        ("< 1e-1  and  >= .05", ScoreIn(Score.GEO, 0.05, 0.1)),
        ("absent", ScoreAbsent(Score.GEO)),
    ],
)
def test_one_score_condition_has_many_spellings(asked: str, condition: Condition) -> None:
    policy = parse(GOOD.replace("< 0.5", asked), source="own.toml")
    assert policy.rules[1].when[1] == condition
