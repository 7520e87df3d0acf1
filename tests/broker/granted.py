"""The lists of rights in deploy/README.md as ACLs: the tests grant what operators are told to grant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.broker.processes import REPOSITORY
from tests.broker.security import Acl

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT = (REPOSITORY / "deploy" / "README.md").read_text()
RESOURCE = re.compile(r"(topic|group|transactional id)(s with the prefix)? `([^`]+)`")
EVERYTHING = "When"  # the last column of the worker's table


def rights(column: str, settings: Mapping[str, str]) -> list[Acl]:
    """The lines of a column, with the names that the settings give; `When`: of the worker, whatever the condition."""
    header, *rows = _table(column)
    place = header.index(column)
    operations = 1 if column == EVERYTHING else place
    return [_acl(row[0], operation, settings) for row in rows for operation in _words(row[operations])]


def _table(column: str) -> list[list[str]]:
    tables = [
        [_cells(line) for line in block.splitlines()] for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
    ]
    [[header, _, *rows]] = [table for table in tables if column in table[0]]
    return [header, *rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _words(cell: str) -> list[str]:
    return [] if cell == "-" else cell.split(", ")


def _acl(cell: str, operation: str, settings: Mapping[str, str]) -> Acl:
    found = RESOURCE.fullmatch(cell)
    assert found is not None, cell
    kind, prefix, name = found.groups()
    for setting, value in settings.items():
        name = name.replace(setting, value)
    return Acl(operation, kind, name, prefix is not None)
