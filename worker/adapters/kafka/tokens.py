"""OAUTHBEARER: where access tokens come from, and a refusal that aiokafka 0.14 takes for a login.

A broker that refuses a token answers without an error code: it sends the reason, and the error only after the client
has acknowledged it with one byte (RFC 7628, 3.2.3). aiokafka sends its next request instead, and gets an empty answer
or a closed connection.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from typing import TYPE_CHECKING

from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import OAuthAuthenticator

if TYPE_CHECKING:
    from pathlib import Path

_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_ACKNOWLEDGED = b"\x01"


class TokenError(OSError):
    """There is no token to log in with. An OSError: aiokafka tries again later after those, and ends after others."""


class TokenFile(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """Reads the token anew for every connection: whoever renews the file needs not tell us."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """The file's token. Raises TokenError, whose text never quotes the file."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> str:
        try:
            content = self._path.read_bytes().strip()
        except OSError as exc:
            raise TokenError(f"KAFKA_OAUTH_TOKEN_FILE cannot be read: {type(exc).__name__}") from exc
        if not _TOKEN.fullmatch(content):
            raise TokenError("KAFKA_OAUTH_TOKEN_FILE holds no token: expected one, and nothing else")
        return content.decode()


def provider(name: str) -> AbstractTokenProvider:
    """Call the operator's own factory, `module:function`."""
    module, _, factory = name.partition(":")
    made = getattr(importlib.import_module(module), factory)()
    if not isinstance(made, AbstractTokenProvider):
        raise TypeError(f"KAFKA_OAUTH_TOKEN_PROVIDER: {name} returned no aiokafka.abc.AbstractTokenProvider")
    return made


class AcknowledgingAuthenticator(OAuthAuthenticator):  # type: ignore[misc] # the same
    """Asks for the error that follows a refusal; aiokafka then raises SaslAuthenticationFailed."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """The next message to the broker, or None after the last."""
        if payload:  # what a broker that accepts the token sends is empty
            return _ACKNOWLEDGED, True
        message: tuple[bytes, bool] | None = await super().step(payload)
        return message


def install() -> None:
    """Do so for every connection of this process; harmless when done already."""
    conn.OAuthAuthenticator = AcknowledgingAuthenticator
