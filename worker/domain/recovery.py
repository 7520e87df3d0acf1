"""Whose a record is that is broken: its `item_id`, if it stands before the break.

An id is believed if all that comes before it, closed at once, is a JSON object with that id. So it is the record's
own and not one deeper inside (`metadata` echoes what customers wrote), and nothing behind a break is believed: after
a stray quote, text looks like keys and keys like text.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

import orjson

_CANDIDATE: Final = re.compile(rb'"item_id"[ \t]*:[ \t]*"(?:[^"\\]|\\.)*+"')
_MAX_CANDIDATES: Final = 8  # each costs decoding what is before it


def item_id_in(line: bytes) -> str | None:
    """Give the object's own `item_id`; None where it is absent, no string, or behind the break."""
    for found in islice(_CANDIDATE.finditer(line), _MAX_CANDIDATES):
        try:
            item_id = orjson.loads(line[: found.end()] + b"}")["item_id"]
        except (orjson.JSONDecodeError, KeyError):
            continue
        return item_id if isinstance(item_id, str) else None
    return None
