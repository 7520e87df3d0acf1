"""README says what the code says: generated tables, commands, targets, paths."""

from __future__ import annotations

import re
from pathlib import Path

from tests.readme import BLOCK, README, TABLES, with_tables

ROOT = Path(__file__).parents[1]
TEXT = README.read_text()


def test_the_generated_tables_are_up_to_date() -> None:
    assert with_tables(TEXT) == TEXT, "run `make readme`"


def test_every_table_is_in_it_once() -> None:
    assert sorted(found[1] for found in BLOCK.findall(TEXT)) == sorted(TABLES)


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", TEXT)) | set(re.findall(r"^make ([a-z]+)", TEXT, re.MULTILINE))
    assert named
    assert named <= targets


def test_every_room_it_names_exists_and_every_room_is_named() -> None:
    named = set(re.findall(r"^ +([a-z_]+(?:/|\.py)) {2,}", TEXT, re.MULTILINE))
    rooms = {f"{each.name}/" for each in (ROOT / "worker").iterdir() if each.is_dir() and each.name != "__pycache__"}
    assert rooms <= named
    assert [each for each in named if not ((ROOT / "worker" / each).exists() or (ROOT / each).exists())] == []


def test_every_test_it_names_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", TEXT) if f"def {name}(" not in sources] == []


def test_a_stale_table_is_seen() -> None:
    assert with_tables(TEXT.replace("MAX_ATTEMPTS` |", "MAX_ATTEMPS` |")) == TEXT
    assert "MAX_ATTEMPTS` |" in TEXT


def test_the_tests_that_hold_the_invariants_exist() -> None:
    """A promise in the README names its test by the name that the test has."""
    tests = Path(__file__).parent
    written = " ".join(path.read_text() for path in tests.rglob("*.py"))
    promised = set(re.findall(r"`(test_\w+|Test\w+)`", (tests.parent / "README.md").read_text()))
    missing = {name for name in promised if not re.search(rf"\b{name}\b", written)}
    assert promised
    assert missing == set()
