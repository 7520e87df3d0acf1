"""A policy's decision table as text, for people: at most 110 columns, every combination in exactly one line."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from worker.domain.policy_table import dimensions, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.domain.policy import Policy
    from worker.domain.policy_table import Dimension, Row

WIDTH = 110

_NOTES = (
    "null: the API said null or nothing at all. unknown: any word but human, suspicious and ai. A score outside "
    "0-1 is absent. An origin is a generator unless it is human, uncertain, unknown, empty or null. In the "
    "sandbox a mock result goes through the rules like a real one."
)


def show(policy: Policy, *, every: bool = False) -> str:
    """Print the complete table, grouped or with one line for each combination."""
    axes, found = dimensions(policy), rows(policy, merge=not every)
    guarded = [row for row in found if row.ruling.rule.startswith("guard")]
    ruled = [row for row in found if not row.ruling.rule.startswith("guard")]
    total = sum(row.combinations for row in found)
    return "\n".join(
        [
            f"{policy.name}, {policy.kind}, {policy.digest}",
            "",
            *_section("Before any rule, under every policy", axes, guarded),
            "",
            *_section("By the rules, the first match decides", axes, ruled),
            "",
            f"{total} combinations in all, each in exactly one line (#: how many a line stands for).",
            *textwrap.wrap(_NOTES, WIDTH),
        ]
    )


def _section(title: str, axes: Sequence[Dimension], found: Sequence[Row]) -> list[str]:
    """Print the rows without the columns that say the same in each; the heading says that instead."""
    cells = [[axis.label(cell) for axis, cell in zip(axes, row.cells, strict=True)] for row in found]
    constant = {place: cells[0][place] for place in range(len(axes)) if len({line[place] for line in cells}) == 1}
    shown = [place for place in range(len(axes)) if place not in constant]
    head = ["#", *(axes[place].name for place in shown), "decision", "reason", "by"]
    body = [
        [
            str(row.combinations),
            *(line[place] for place in shown),
            row.ruling.decision,
            row.ruling.reason or "-",
            row.ruling.rule,
        ]
        for row, line in zip(found, cells, strict=True)
    ]
    return [*textwrap.wrap(f"{title}{_said_once(axes, constant)}:", WIDTH), *_laid_out(head, body)]


def _said_once(axes: Sequence[Dimension], constant: dict[int, str]) -> str:
    fixed = [f"{axes[place].name} {label}" for place, label in constant.items() if label != "any"]
    free = [axes[place].name for place, label in constant.items() if label == "any"]
    given = f", given {' and '.join(fixed)}" if fixed else ""
    return given + (f" (any {', '.join(free)})" if free else "")


def _laid_out(head: list[str], body: list[list[str]]) -> list[str]:
    widths = [max(len(line[place]) for line in [head, *body]) for place in range(len(head))]
    if 2 + sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        return _folded(head, body)
    table = [head, ["-" * width for width in widths], *body]
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in table]


def _folded(head: list[str], body: list[list[str]]) -> list[str]:
    """Print two or more lines a row, for a policy that asks for more than the width can hold."""
    lines = []
    for number, *asked, decision, reason, by in body:
        lines.append(f"  {decision}  {reason}  {by}  ({number} combinations)")
        terms = ", ".join(f"{name} {label}" for name, label in zip(head[1:], asked, strict=False))
        lines += textwrap.wrap(terms, WIDTH, initial_indent="      ", subsequent_indent="      ")
    return lines
