"""README's generated tables. `python -m tests.readme --write` brings them up to date, test_readme.py compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from worker.adapters.telemetry.catalogue import CATALOGUE
from worker.adapters.web import READINESS
from worker.cli import EXIT_MEANINGS
from worker.explain_words import JOB_MEANINGS, MEANINGS
from worker.flow.faults import FAULTS
from worker.settings import Settings, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The text with each generated block made anew; a block of an unknown name is a KeyError."""
    return BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def settings() -> str:
    return table(
        ("Name", "Default", "Meaning"),
        (
            (f"`{name.upper()}`", default(name), field.description or "")
            for name, field in Settings.model_fields.items()
        ),
    )


def default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    if name == "hs_base_url":
        return "see meaning"
    value = shown(field.default)
    return value if value == "-" else f"`{value}`"


def metrics() -> str:
    return table(
        ("Metric", "Kind", "Labels", "Meaning", "What to do"),
        (
            (f"`{each.full_name}`", each.kind, ", ".join(each.labels) or "-", each.meaning, each.action)
            for each in CATALOGUE
        ),
    )


def readiness() -> str:
    return table(("Reason", "What it means, what to do"), ((f"`{name}`", text) for name, text in READINESS.items()))


def exits() -> str:
    return table(("Code", "Meaning"), ((str(code.value), text) for code, text in EXIT_MEANINGS.items()))


def waits() -> str:
    return table(("`waits_for`", "It waits for"), ((f"`{each}`", text) for each, text in MEANINGS.items()))


def job_waits() -> str:
    return table(("`waits_for` of a job", "It waits for"), ((f"`{each}`", text) for each, text in JOB_MEANINGS.items()))


def faults() -> str:
    return table(
        ("Kind", "Repeated", "May be billed", "Stops admission", "Why"),
        (
            (f"`{kind}`", row.repeat.value, yes(row.may_be_billed), yes(row.holds), row.reason)
            for kind, row in FAULTS.items()
        ),
    )


def yes(value: object) -> str:
    return "yes" if value else "no"


TABLES = {
    "settings": settings,
    "metrics": metrics,
    "readiness": readiness,
    "exits": exits,
    "faults": faults,
    "waits": waits,
    "job_waits": job_waits,
}


if __name__ == "__main__":
    fresh = with_tables(README.read_text())
    if "--write" in sys.argv:
        README.write_text(fresh)
    sys.exit(README.read_text() != fresh)
