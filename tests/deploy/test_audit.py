"""What is said of an audit: vulnerable fails, and nothing looked at is never called well."""

from __future__ import annotations

from typing import Any

from tests.deploy.audit import judged

WELL: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
UNSEEN: dict[str, Any] = {"name": "b", "skip_reason": "not found"}
ILL: dict[str, Any] = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


def told(*packages: dict[str, Any]) -> tuple[bool, str]:
    return judged({"dependencies": list(packages)})


def test_a_vulnerable_package_fails_and_is_named() -> None:
    well, text = told(WELL, UNSEEN, ILL)
    assert not well
    assert "c 2: CVE-1 (fixed in 3)" in text


def test_what_was_looked_at_is_counted() -> None:
    assert told(WELL, WELL) == (True, "2 of 2 packages audited, none is known to be vulnerable")
    assert told(WELL, UNSEEN)[1].endswith("1 could not be looked at")


def test_nothing_looked_at_is_said_aloud() -> None:
    assert told(UNSEEN, UNSEEN)[1].startswith("NOT AUDITED")
    assert told()[1].startswith("NOT AUDITED")
