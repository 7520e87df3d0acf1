"""The house rules that a program can hold: sizes, names, and what is not used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("worker", "tests") for path in (ROOT / room).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
LONGEST_FUNCTION = 60
LONGEST_MODULE = 300
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
# Brackets keep this line from finding itself.
FORBIDDEN_TEXT = re.compile(r"unittest[.]mock|Magic[M]ock|pytest[_]mock|\bT[O]DO\b|\bFIX[M]E\b")
NEEDS_A_BROKER = ("tests/broker/", "tests/bench/", "tests/chaos/")
EDGE = "worker/app.py"


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def catches_everything(tree: ast.AST) -> list[int]:
    """Lines of handlers that catch Exception or more, and keep it: one that raises it again only looks at it."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & names(node.type))
        and ast.unparse(node.body[-1]) != "raise"
    ]


def names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def positive_sleeps(tree: ast.AST) -> list[int]:
    """Lines of calls of `sleep` with anything but a literal zero."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "sleep"}
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]


def mutable_globals(tree: ast.Module) -> list[str]:
    """Names at module level that are bound to an empty, that is to be filled, list, dict or set."""
    bound = [node for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None]
    return [
        ast.unparse(node)
        for node in bound
        if node.value and ast.unparse(node.value) in {"[]", "{}", "set()", "dict()", "list()"}
    ]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_sizes_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_MODULE
    assert [
        f"{each.name}: {lines(each)}" for each in functions(ast.parse(text)) if lines(each) > LONGEST_FUNCTION
    ] == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_names_say_what_is_inside(path: Path) -> None:
    assert not FORBIDDEN_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_no_mocks_and_no_promises(path: Path) -> None:
    assert FORBIDDEN_TEXT.findall(path.read_text()) == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_state_has_an_owner(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert mutable_globals(tree) == []
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))


def test_only_the_edge_catches_everything_and_only_once() -> None:
    found = [
        f"{name}:{line}"
        for name, path in zip(NAMES, SOURCES, strict=True)
        if name.startswith("worker/")
        for line in catches_everything(ast.parse(path.read_text()))
    ]
    assert len(found) <= 1
    assert all(place.startswith(EDGE) for place in found), found


def test_tests_without_a_broker_wait_for_facts_not_for_time() -> None:
    waiting = [
        f"{name}:{line}"
        for name, path in zip(NAMES, SOURCES, strict=True)
        if name.startswith("tests/") and not name.startswith(NEEDS_A_BROKER)
        for line in positive_sleeps(ast.parse(path.read_text()))
    ]
    assert waiting == []


def test_the_locks_name_no_address_and_hash_everything() -> None:
    locks = sorted(ROOT.glob("requirements*.txt"))
    assert len(locks) == 4
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        assert not re.search(r"^-", text, re.MULTILINE)
        pins = re.findall(r"^[a-z0-9-]+==[^\n]*", text, re.MULTILINE)
        assert pins
        assert all(pin.endswith("\\") for pin in pins)


def test_the_rules_see_their_breaches() -> None:
    tree = ast.parse("import time\nseen = {}\ntry:\n    time.sleep(1)\nexcept (ValueError, Exception):\n    pass\n")
    assert catches_everything(tree) == [5]
    assert positive_sleeps(tree) == [4]
    assert mutable_globals(tree) == ["seen = {}"]
