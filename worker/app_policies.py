"""The policies that events may name, loaded, and where each decision goes; built from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from worker.domain.decider import Decider, Topics
from worker.domain.policies import BUILT_IN
from worker.domain.policy_file import PolicyError, load
from worker.settings import SettingsError

if TYPE_CHECKING:
    from worker.domain.policy import Policy
    from worker.settings import Settings


def topics_of(settings: Settings) -> Topics:
    """The five topics."""
    return Topics(
        submitted=settings.topic_submitted,
        approve=settings.topic_approve,
        review=settings.topic_review,
        reject=settings.topic_reject,
        dead_letter=settings.topic_dead_letter,
    )


def decider_of(settings: Settings) -> Decider:
    """Load the policies. Raises SettingsError with every mistake of every file."""
    loading = _Loading(settings.policy)
    for path in settings.policy_files:
        loading.add("POLICY_FILES", path)
    if loading.mistakes:
        raise SettingsError(tuple(loading.mistakes))
    return Decider(loading.policies, loading.default, topics_of(settings), sandbox=settings.sandbox)


class _Loading:
    """What is loaded so far. `policy`: a built-in one's name, or the path of the default's file."""

    def __init__(self, policy: str) -> None:
        self.policies: dict[str, Policy] = dict(BUILT_IN)
        self.mistakes: list[str] = []
        self.default = policy
        if policy not in BUILT_IN:
            self.default = self.add("POLICY", Path(policy)) or policy

    def add(self, setting: str, path: Path) -> str | None:
        """Load one file; returns the policy's name, None where there is none."""
        try:
            policy = load(path.read_text(encoding="utf-8"), source=str(path))
        except PolicyError as refusal:
            self.mistakes.extend(f"{setting}: {line}" for line in str(refusal).splitlines())
        except UnicodeDecodeError:
            self.mistakes.append(f"{setting}: {path} is not UTF-8")
        except OSError as error:
            names = f", and none of {', '.join(BUILT_IN)}" if setting == "POLICY" else ""
            self.mistakes.append(f"{setting}: {path} cannot be read ({error.strerror}){names}")
        else:
            there = self.policies.setdefault(policy.name, policy)
            if there.digest == policy.digest:
                return policy.name
            self.mistakes.append(f"{setting}: {path} is a second policy named {policy.name}; a decision names one")
        return None
