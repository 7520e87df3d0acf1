"""The Dockerfile, read: which files it takes, and the steps of its build stage as a shell would run them here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where the build stage writes; the rest of the machine is not its own here.
_PLACES = re.compile(r"(?<![\w./-])/(opt|dist|src)(?=[/\s]|$)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    stage: int
    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    found, stage = [], -1
    for line in filter(None, joined.splitlines()):
        name, _, rest = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


def one(name: str) -> str:
    """Give the last stage's only instruction of this name."""
    all_of_them = instructions((ROOT / "Dockerfile").read_text())
    [rest] = [each.rest for each in all_of_them if each.name == name and each.stage == all_of_them[-1].stage]
    return rest


def sources() -> list[str]:
    """What is copied from the tree."""
    copies = [each.rest for each in instructions((ROOT / "Dockerfile").read_text()) if each.name == "COPY"]
    return [name for rest in copies if "--from" not in rest for name in shlex.split(rest)[:-1]]


def let_in() -> list[str]:
    """What .dockerignore lets into the build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def script(place: Path) -> str:
    """The build stage as a shell script that writes below `place` only; files come from the tree."""
    steps = [each for each in instructions((ROOT / "Dockerfile").read_text()) if each.stage == 0]
    shell = [_AS_SHELL[each.name](each.rest) for each in steps if each.name in _AS_SHELL]
    moved = [_PLACES.sub(lambda found: f"{place}/{found[1]}", line) for line in shell]
    return "\n".join(["set -eu", f"cd {shlex.quote(str(place / 'src'))}", *moved]) + "\n"


def _copy(rest: str) -> str:
    *names, into = shlex.split(rest)
    return " ".join(["cp", "-r", *(shlex.quote(str(ROOT / name)) for name in names), into])


_AS_SHELL = {"ENV": lambda rest: f"export {rest}", "RUN": lambda rest: rest, "COPY": _copy}
