"""Bytes that strangers sent, for a terminal: on one line, bounded, without control or direction characters."""

from __future__ import annotations

_FIRST_ESCAPED_BYTE, _LAST_ESCAPED_BYTE = 0xDC80, 0xDCFF  # how Python's surrogateescape keeps a byte that is no UTF-8


def printable(content: bytes | None, limit: int) -> str:
    """The first `limit` bytes; what cannot be shown is escaped as in Python, a cut is marked by `...`; None is `-`."""
    if content is None:
        return "-"
    text = content[:limit].decode("utf-8", "surrogateescape")
    return "".join(map(_shown, text)) + ("..." if len(content) > limit else "")


def _shown(character: str) -> str:
    if character == "\\":
        return r"\\"
    if character.isprintable():
        return character
    if _FIRST_ESCAPED_BYTE <= ord(character) <= _LAST_ESCAPED_BYTE:
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode("ascii")
