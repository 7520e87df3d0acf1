"""Tokens: read anew each time, refused when they are none, and never quoted; a refusal by the broker is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.kafka import tokens
from worker.adapters.kafka.tokens import AcknowledgingAuthenticator, TokenError, TokenFile, provider

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.text("abcXYZ019-._~+/", min_size=1)


class Fixed(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """An operator's provider."""

    async def token(self) -> str:
        return "fixed"


def no_provider() -> object:
    return object()


async def test_a_renewed_file_is_the_next_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenFile(file)
    for content, token in (("first\n", "first"), ("  a.b-c_d~e+f/g==\r\n", "a.b-c_d~e+f/g==")):
        file.write_text(content)
        assert await source.token() == token


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\x01b", "a=b", "=", '"quoted"', "naïve"])
async def test_what_is_no_token_is_refused_unquoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(TokenError, match=r"^KAFKA_OAUTH_TOKEN_FILE holds no token") as refusal:
        await TokenFile(file).token()
    assert not content.strip() or content not in str(refusal.value)


async def test_a_file_that_is_gone_is_an_error_after_which_aiokafka_tries_again(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^KAFKA_OAUTH_TOKEN_FILE cannot be read: FileNotFoundError$"):
        await TokenFile(tmp_path / "none").token()


@pytest.mark.parametrize("name", ["tests.adapters.test_tokens:no_provider", "builtins:list"])
def test_a_factory_must_return_a_provider(name: str) -> None:
    with pytest.raises(TypeError, match=r"^KAFKA_OAUTH_TOKEN_PROVIDER"):
        provider(name)


async def test_the_factory_of_an_operator_is_called() -> None:
    assert await provider("tests.adapters.test_tokens:Fixed").token() == "fixed"


@given(refusal=st.binary(min_size=1))
async def test_a_refusal_is_acknowledged_and_so_becomes_an_error(refusal: bytes) -> None:
    """RFC 7628, 3.2.3: after the reason the client sends one byte, and the broker then fails the login."""
    authenticator = AcknowledgingAuthenticator(sasl_oauth_token_provider=Fixed())
    first = await authenticator.step(None)
    assert first == (b"n,,\x01auth=Bearer fixed\x01\x01", True)
    assert await authenticator.step(refusal) == (b"\x01", True)


@pytest.mark.parametrize("accepted", [b"", None])
async def test_an_acceptance_ends_the_login(accepted: bytes | None) -> None:
    authenticator = AcknowledgingAuthenticator(sasl_oauth_token_provider=Fixed())
    await authenticator.step(None)
    assert await authenticator.step(accepted) is None


@given(token=WORDS, padding=st.integers(0, 2))
def test_every_bearer_token_passes(tmp_path_factory: pytest.TempPathFactory, token: str, padding: int) -> None:
    file = tmp_path_factory.getbasetemp() / "any-token"
    file.write_text(token + "=" * padding)
    assert TokenFile(file)._read() == token + "=" * padding


def test_it_is_installed_once_for_all_connections() -> None:
    tokens.install()
    tokens.install()
    assert conn.OAuthAuthenticator is AcknowledgingAuthenticator
