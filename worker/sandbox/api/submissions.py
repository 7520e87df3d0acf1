"""What a request asks to be analysed: the address in a JSON body, or (generation 2) a file in a multipart one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
from aiohttp import BodyPartReader
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from aiohttp import MultipartReader, web

_CHUNK_BYTES = 1 << 16


def address_in(body: bytes, fields: tuple[str, ...]) -> str | None:
    """Find the one address of a JSON body; None for neither, both or a wrong type."""
    wanted = _object(body)
    given = [wanted[name] for name in fields if wanted.get(name) is not None]
    return given[0] if len(given) == 1 and isinstance(given[0], str) and given[0] else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


async def audio_of(request: web.BaseRequest) -> str | None:
    """Find the one `url` or `file` of a generation 2 submission; None for neither, both or a body that is broken.

    A file goes by its name and digest, so that the same one again is the same track, and its name may name a scenario.
    """
    if not request.content_type.startswith("multipart/"):
        return address_in(await request.read(), ("url",))
    try:
        return await _upload(await request.multipart())
    except (ValueError, AssertionError, HttpProcessingError):  # how aiohttp refuses a multipart body
        return None


async def _upload(form: MultipartReader) -> str | None:
    given = [
        await _file(part) async for part in form if isinstance(part, BodyPartReader) and part.name in {"url", "file"}
    ]
    return given[0] if len(given) == 1 else None


async def _file(part: BodyPartReader) -> str | None:
    digest, size = hashlib.sha256(), 0
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    is_file = part.name == "file" and part.filename is not None and size > 0
    return f"upload:{unquote(part.filename or '')}:{digest.hexdigest()[:16]}" if is_file else None
