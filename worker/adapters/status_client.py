"""Asks a running worker's operator server, from another process."""

from __future__ import annotations

import os

import aiohttp


class UnreachableError(Exception):
    """Nobody answers at this address. The text says what happened."""


async def ask(url: str, seconds: float) -> tuple[int, bytes]:
    """GET; returns the status code and the body, whatever they are. Raises UnreachableError."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(seconds)) as session,
            session.get(url, allow_redirects=False) as reply,
        ):
            return reply.status, await reply.read()
    except TimeoutError as exc:
        raise UnreachableError(f"no answer within {seconds:g} s") from exc
    except (aiohttp.InvalidURL, ValueError) as exc:
        raise UnreachableError("that is no http:// address") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise UnreachableError(_reason(exc)) from exc


def _reason(exc: Exception) -> str:
    """The system's own words, where it was the system: aiohttp's repeat the address."""
    number = exc.errno if isinstance(exc, OSError) else None
    return os.strerror(number).lower() if number and number > 0 else str(exc) or type(exc).__name__
