"""Where things stand in a policy file: the TOML parser gives values without lines, errors need both."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Literal

Place = int | Literal["policy", "default"]  # a rule's number from 1, or one of the two other parts

_HEADER = re.compile(r"""\s*\[\[\s*["']?rules["']?\s*\]\]""")
_DEFAULT = re.compile(r"""\s*\[\s*["']?default["']?\s*\]|\s*default\s*[=.]""")


@dataclass(frozen=True, slots=True)
class Layout:
    """The lines of a file, and the line of each `[[rules]]` header. Lines count from 1."""

    lines: tuple[str, ...]
    rules: tuple[int, ...]

    def line(self, place: Place, key: str | None = None) -> int:
        """Line of the key in that part of the file; of the part itself where the key is not written there."""
        start = self._start(place)
        if key is None:
            return start
        written = re.compile(rf"""(?:^|[\s.{{,"']){re.escape(key)}["']?\s*[=.]""")
        return next((number for number, text in self._block(start) if written.search(text)), start)

    def _start(self, place: Place) -> int:
        if isinstance(place, int):
            return self.rules[place - 1] if place <= len(self.rules) else 1
        if place == "default":
            return next((number for number, text in enumerate(self.lines, 1) if _DEFAULT.match(text)), 1)
        return 1

    def _block(self, start: int) -> list[tuple[int, str]]:
        """Give the lines from here to the next header of rules or default, without comments."""
        block: list[tuple[int, str]] = []
        for number, text in enumerate(self.lines[start - 1 :], start):
            if number > start and (_HEADER.match(text) or _DEFAULT.match(text)):
                break
            if not text.lstrip().startswith("#"):
                block.append((number, text))
        return block


def layout(text: str) -> Layout:
    """Find the headers. A line inside a multi-line string is none: the text before it is no whole document."""
    lines = tuple(text.splitlines()) or ("",)
    found = [number for number, line in enumerate(lines, 1) if _HEADER.match(line)]
    return Layout(lines, tuple(number for number in found if _is_document("\n".join(lines[: number - 1]))))


def _is_document(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
