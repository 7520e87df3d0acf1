"""Policy files: TOML in, a Policy out, or every mistake at once, each with its line and rule.

A file has `name`, `kind` (intake or certification), any number of `[[rules]]`, and a `[default]`:

    [[rules]]
    when = { human_safe = ["human", "unknown"], geo_score = ">= 0.2 and < 0.5", origin = "generator" }
    decision = "manual_review"
    reason = "geo_score_elevated"

- A tier is one of human, suspicious, not_evaluated (null or absent) and unknown (any other word), or several.
- A score is `present`, `absent`, `>= x`, `< x`, or a lower and an upper bound joined by `and`; 0 <= x <= 1.
- `origin` is human, generator or undecided; `status` is success, failed or timeout.
- Every outcome names its reason; approvals and certifications have none.
- Nothing is guessed: an unknown key, word or decision is a mistake.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from worker.domain.analysis import AnalysisStatus, OriginClass, Tier, TierValue
from worker.domain.conditions import Condition, OriginIn, Score, ScoreAbsent, ScoreIn, StatusIn, TierIn
from worker.domain.policy import NEGATIVE, POSITIVE, UNDECIDED, Kind, Outcome, Policy, Rule
from worker.domain.policy_layout import Layout, Place, layout
from worker.domain.policy_table import faults

MAX_CHARACTERS = 65_536  # a policy is read by people; this also bounds the search for its lines
MAX_RULES = 64
BUILT_IN_NAMES = ("two-tier", "certification", "strict", "permissive")  # the first is the default

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")  # becomes a metric label and a header
_BOUND = re.compile(r"(>=|<)\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_TOML_LINE = re.compile(r"\(at line (\d+)")
_SUBJECTS = (*Tier, *Score, "origin", "status")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the line it stands on (from 1), the part of the policy, and what was expected."""

    line: int
    place: Place
    text: str

    def __str__(self) -> str:
        part = f"rule {self.place}" if isinstance(self.place, int) else self.place
        return f"line {self.line}, {part}: {self.text}"


class PolicyError(ValueError):
    """A file that is no policy, or one that must not decide. The author's mistake; `problems` names them all."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


@dataclass(slots=True)
class _Mistakes:
    """Collects problems while a file is read."""

    layout: Layout
    found: list[Problem] = field(default_factory=list)

    def add(self, place: Place, key: str | None, text: str) -> None:
        self.found.append(Problem(self.layout.line(place, key), place, text))


def load(text: str, *, source: str) -> Policy:
    """Read a policy that may decide. Raises PolicyError, also for what `policy check` refuses."""
    policy, lines = _read(text, source)
    found = [Problem(lines.line(fault.place), fault.place, fault.text) for fault in faults(policy)]
    if policy.name in BUILT_IN_NAMES:
        text = f"name: {policy.name} is built in; a decision could not tell the two apart, choose another"
        found.insert(0, Problem(lines.line("policy", "name"), "policy", text))
    if found:
        raise PolicyError(source, _in_order(found))
    return policy


def parse(text: str, *, source: str) -> Policy:
    """Read a policy by its form alone. Raises PolicyError. For the built-in ones, which the tests check."""
    return _read(text, source)[0]


def _read(text: str, source: str) -> tuple[Policy, Layout]:
    if len(text) > MAX_CHARACTERS:
        raise PolicyError(source, (Problem(1, "policy", f"longer than {MAX_CHARACTERS} characters"),))
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(source, (_not_toml(text, error),)) from error
    mistakes = _Mistakes(layout(text))
    policy = _policy(document, mistakes)
    if mistakes.found:
        raise PolicyError(source, _in_order(mistakes.found))
    return policy, mistakes.layout


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line))


def _not_toml(text: str, error: tomllib.TOMLDecodeError) -> Problem:
    at = _TOML_LINE.search(str(error))
    line = int(at[1]) if at else max(1, len(text.splitlines()))
    headers = sum(1 for number in layout(text).rules if number <= line)
    return Problem(line, headers or "policy", f"not TOML: {error}")


def _policy(document: dict[str, Any], mistakes: _Mistakes) -> Policy:
    _refuse_unknown(document, ("name", "kind", "rules", "default"), "policy", mistakes)
    kind = _kind(document.get("kind"), mistakes)
    rules = tuple(
        _rule(entry, number, kind, mistakes)
        for number, entry in enumerate(_entries(document.get("rules", []), mistakes), 1)
    )
    return Policy(
        _name(document.get("name"), mistakes),
        kind or "intake",
        rules,
        _default(document.get("default"), kind, mistakes),
    )


def _name(value: Any, mistakes: _Mistakes) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    mistakes.add("policy", "name", "name: expected 1-64 of a-z, 0-9, - and _, beginning with a letter or digit")
    return ""


def _kind(value: Any, mistakes: _Mistakes) -> Kind | None:
    for kind in POSITIVE:
        if value == kind:
            return kind
    mistakes.add("policy", "kind", 'kind: expected "intake" or "certification"')
    return None


def _entries(value: Any, mistakes: _Mistakes) -> list[dict[str, Any]]:
    written = len(mistakes.layout.rules)
    if not isinstance(value, list) or len(value) != written or not all(isinstance(each, dict) for each in value):
        mistakes.add("policy", "rules", "rules: write each rule under a [[rules]] header of its own")
        return []
    if written > MAX_RULES:
        mistakes.add("policy", "rules", f"rules: at most {MAX_RULES}, found {written}")
        return []
    return value


def _rule(entry: dict[str, Any], number: int, kind: Kind | None, mistakes: _Mistakes) -> Rule:
    _refuse_unknown(entry, ("when", "decision", "reason"), number, mistakes)
    return Rule(_when(entry.get("when"), number, mistakes), _outcome(entry, number, kind, mistakes))


def _default(value: Any, kind: Kind | None, mistakes: _Mistakes) -> Outcome:
    if not isinstance(value, dict):
        text = "missing: every policy needs a [default] with decision and reason, for whatever no rule matches"
        mistakes.found.append(Problem(len(mistakes.layout.lines), "default", text))
        return Outcome("")
    _refuse_unknown(value, ("decision", "reason"), "default", mistakes)
    return _outcome(value, "default", kind, mistakes)


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], place: Place, mistakes: _Mistakes) -> None:
    for key in table:
        if key not in known:
            mistakes.add(place, key, f"{_shown(key)} is not known here; expected {', '.join(known)}")


def _outcome(table: dict[str, Any], place: Place, kind: Kind | None, mistakes: _Mistakes) -> Outcome:
    decision, reason = table.get("decision"), table.get("reason")
    allowed = [words[each] for each in ([kind] if kind else POSITIVE) for words in (POSITIVE, UNDECIDED, NEGATIVE)]
    if decision not in allowed:
        mistakes.add(place, "decision", f"decision: expected one of {', '.join(allowed)}")
    elif decision in POSITIVE.values():
        if reason is not None:
            mistakes.add(place, "reason", f"reason: {decision} takes none")
    elif not isinstance(reason, str) or not _REASON.fullmatch(reason):
        mistakes.add(place, "reason", "reason: expected 1-64 of a-z, 0-9 and _, beginning with a letter")
    return Outcome(str(decision), reason if isinstance(reason, str) else None)


def _when(value: Any, number: int, mistakes: _Mistakes) -> tuple[Condition, ...]:
    if not isinstance(value, dict) or not value:
        mistakes.add(number, "when", "when: expected at least one condition (what always holds is the default)")
        return ()
    conditions = []
    for subject, asked in value.items():
        condition = _condition(subject, asked)
        if isinstance(condition, str):
            mistakes.add(number, subject, condition)
        else:
            conditions.append(condition)
    return tuple(conditions)


def _condition(subject: str, asked: Any) -> Condition | str:
    """Read one condition; a text says what is wrong with it."""
    if subject not in _SUBJECTS:
        return f"when: {_shown(subject)} is not known here; expected {', '.join(_SUBJECTS)}"
    if subject in tuple(Score):
        return _score(Score(subject), asked)
    words = asked if isinstance(asked, list) else [asked]
    known = {"origin": OriginClass, "status": AnalysisStatus}.get(subject, TierValue)
    for word in words:
        if word not in tuple(known):
            return f"{subject}: {_shown(word)} is none of {', '.join(known)}"
    if not words:
        return f"{subject}: expected one or more of {', '.join(known)}"
    return _word_condition(subject, words)


def _word_condition(subject: str, words: list[str]) -> Condition:
    if subject == "origin":
        return OriginIn(frozenset(map(OriginClass, words)))
    if subject == "status":
        return StatusIn(frozenset(map(AnalysisStatus, words)))
    return TierIn(Tier(subject), frozenset(map(TierValue, words)))


def _score(score: Score, asked: Any) -> Condition | str:
    if asked == "absent":
        return ScoreAbsent(score)
    if asked == "present":
        return ScoreIn(score)
    bounds = _bounds(asked) if isinstance(asked, str) else None
    if bounds is None:
        return f'{score}: {_shown(asked)} is none of "present", "absent", ">= x", "< x", ">= x and < y" (0-1)'
    return ScoreIn(score, bounds.get(">=", 0.0), bounds.get("<"))


def _bounds(asked: str) -> dict[str, float] | None:
    bounds: dict[str, float] = {}
    for part in re.split(r"\s+and\s+", asked.strip()):
        bound = _BOUND.fullmatch(part)
        if bound is None or bound[1] in bounds or not 0 <= float(bound[2]) <= 1:
            return None
        bounds[bound[1]] = float(bound[2])
    return bounds


def _shown(value: Any) -> str:
    return repr(value)[:60]
