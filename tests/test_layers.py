"""Imports point one way: domain <- flow <- pipeline <- app -> adapters. Type-only imports count as well."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "worker").rglob("*.py"))
}
# Room -> what it may import of ours, besides itself. The longest prefix of a module's name decides.
ALLOWED: dict[str, tuple[str, ...]] = {
    "worker": (),
    "worker.domain": (),
    "worker.flow": ("worker.domain",),
    "worker.pipeline": ("worker.domain", "worker.flow"),
    "worker.adapters": ("worker.domain", "worker.flow"),
    # The ports' words: what an adapter is handed and what it may raise.
    "worker.adapters.humanstandard": ("worker.domain", "worker.flow"),
    "worker.adapters.kafka": ("worker.domain", "worker.flow", "worker.pipeline.ports"),
    "worker.adapters.telemetry": (
        *("worker.domain", "worker.flow", "worker.pipeline.facts", "worker.pipeline.statuses"),
    ),
    "worker.adapters.web": (
        *("worker.domain", "worker.flow", "worker.pipeline.statuses", "worker.pipeline.explanation"),
    ),
    "worker.adapters.webhook_receiver": ("worker.domain", "worker.flow", "worker.pipeline.facts"),
    "worker.sandbox": ("worker.domain", "worker.flow", "worker.settings", "worker.app"),
    "worker.settings": ("worker.settings_checks",),
    "worker.policy_commands": ("worker.domain",),
    "worker.app": (
        *("worker.app_bulk", "worker.app_policies", "worker.app_telemetry", "worker.domain", "worker.flow"),
        "worker.pipeline",
        *("worker.adapters", "worker.settings"),
    ),
    "worker.app_policies": ("worker.domain", "worker.settings"),
    "worker.app_telemetry": (
        *("worker.domain", "worker.pipeline", "worker.adapters", "worker.settings", "worker.otlp_checks"),
    ),
    "worker.otlp_checks": ("worker.settings_checks",),
    "worker.app_bulk": ("worker.flow", "worker.pipeline", "worker.adapters", "worker.settings"),
    "worker.operations": (
        *("worker.app", "worker.app_policies", "worker.app_telemetry", "worker.domain", "worker.flow"),
        *("worker.adapters", "worker.settings"),
    ),
    "worker.replay_arguments": ("worker.domain",),
    "worker.replay_views": ("worker.domain",),
    "worker.replay_run": ("worker.domain", "worker.flow"),
    "worker.replay_commands": (
        *("worker.replay_arguments", "worker.replay_views", "worker.replay_run"),
        *("worker.app", "worker.domain", "worker.flow", "worker.adapters", "worker.settings"),
    ),
    "worker.explain_words": ("worker.domain", "worker.pipeline.explanation"),
    "worker.explain_text": (
        *("worker.explain_jobs", "worker.explain_words", "worker.pipeline.explanation", "worker.pipeline.statuses"),
    ),
    "worker.explain_jobs": ("worker.explain_words", "worker.pipeline.explanation"),
    "worker.explain_stored": ("worker.explain_words", "worker.domain", "worker.flow"),
    "worker.explain_command": (
        *("worker.explain_text", "worker.explain_stored", "worker.pipeline.explanation"),
        *("worker.app", "worker.adapters", "worker.settings"),
    ),
    "worker.cli": ("worker",),  # imports a command's room when the command runs
    "worker.__main__": ("worker.cli",),
}
PURE = ("worker.domain", "worker.flow")
# What a pure room has no use for: I/O, clocks, randomness of its own, the event loop, processes, clients.
IMPURE = {
    *("asyncio", "threading", "socket", "ssl", "subprocess", "multiprocessing", "selectors", "signal", "time"),
    *("random", "secrets", "logging", "tempfile", "shutil", "http", "urllib.request"),
    *("aiohttp", "aiokafka", "httpx", "prometheus_client", "structlog", "pydantic", "dotenv", "uvloop"),
}


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str:
    return max((room for room in ALLOWED if within(name, room)), key=len)


def imports(source: str) -> set[str]:
    """Every dotted name that the source imports, at any depth: `from a import b` counts as a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wrong_ways(name: str, source: str) -> set[str]:
    """Imports of ours that this module may not make."""
    room = room_of(name)
    ours = {target for target in imports(source) if within(target, "worker")}
    allowed = (room, *ALLOWED[room], "worker.__version__")
    return {target for target in ours - {"worker"} if not any(within(target, each) for each in allowed)}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_its_room_may(name: str) -> None:
    assert wrong_ways(name, MODULES[name].read_text()) == set()


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, PURE[0]) or within(name, PURE[1])])
def test_the_pure_rooms_touch_no_clock_no_loop_and_no_io(name: str) -> None:
    touched = {each for target in imports(MODULES[name].read_text()) for each in IMPURE if within(target, each)}
    assert touched == set()


def test_there_are_no_import_cycles() -> None:
    """Type-only imports count: a cycle in the types is a cycle in the reader's head."""
    graph = {
        name: {known(target) for target in imports(path.read_text())} - {"", name} for name, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


def known(target: str) -> str:
    """The module of ours that an imported name belongs to, or nothing."""
    return target if target in MODULES else target.rpartition(".")[0] if target.rpartition(".")[0] in MODULES else ""


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("worker.domain.policy", "from worker.flow import ledger"),
        ("worker.flow.ledger", "import worker.pipeline.lane"),
        ("worker.pipeline.lane", "def f():\n    from worker.adapters import kafka"),
        ("worker.adapters.kafka.source", "from worker.adapters.humanstandard import client"),
        ("worker.adapters.telemetry.logs", "from worker.pipeline.lane import Lane"),
        ("worker.app", "from worker.sandbox import stack"),
        ("worker.settings", "from worker.domain import policy"),
    ],
)
def test_a_wrong_way_is_seen(name: str, source: str) -> None:
    assert wrong_ways(name, source) != set()
