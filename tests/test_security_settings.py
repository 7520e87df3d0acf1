"""Settings of TLS and of logging in: what does not fit together, or does not open, is told before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.certificates import Authority
from worker.app import connection_of
from worker.settings import SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

REQUIRED = {"HS_API_KEY": "key", "KAFKA_BOOTSTRAP_SERVERS": "broker:9092"}
TLS = {"KAFKA_SECURITY_PROTOCOL": "SSL"}
OAUTH = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "oauthbearer"}
PROVIDER = {"KAFKA_OAUTH_TOKEN_PROVIDER": "tests.adapters.test_tokens:Fixed"}
PASSPHRASE = "opens-the-key"  # noqa: S105 - of a key that lives for one test


def mistakes(environ: dict[str, str]) -> list[str]:
    """The names that each mistake is about."""
    with pytest.raises(SettingsError) as refusal:
        load(REQUIRED | environ, env_file=None)
    assert PASSPHRASE not in str(refusal.value)
    return [line.partition(":")[0] for line in refusal.value.mistakes]


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "token"
    file.write_text("abc")
    return {"KAFKA_OAUTH_TOKEN_FILE": str(file)}


async def test_a_token_file_is_enough_to_log_in(token: dict[str, str]) -> None:
    connection = connection_of(load(REQUIRED | OAUTH | token, env_file=None).settings)
    assert connection.sasl_tokens is not None
    assert await connection.sasl_tokens.token() == "abc"
    assert connection.arguments()["sasl_oauth_token_provider"] is connection.sasl_tokens
    assert "abc" not in repr(connection)


async def test_so_is_a_provider_of_the_operator() -> None:
    connection = connection_of(load(REQUIRED | OAUTH | PROVIDER, env_file=None).settings)
    assert connection.sasl_tokens is not None
    assert await connection.sasl_tokens.token() == "fixed"


def test_one_of_them_is_needed_and_only_one(token: dict[str, str]) -> None:
    about = "KAFKA_OAUTH_TOKEN_FILE, KAFKA_OAUTH_TOKEN_PROVIDER, KAFKA_SASL_MECHANISM"
    assert mistakes(OAUTH) == [about]
    assert mistakes(OAUTH | token | PROVIDER) == [about]


def test_a_token_without_its_mechanism_has_no_effect(token: dict[str, str]) -> None:
    assert mistakes(token) == ["KAFKA_OAUTH_TOKEN_FILE, KAFKA_SASL_MECHANISM"]
    assert mistakes(PROVIDER) == ["KAFKA_OAUTH_TOKEN_PROVIDER, KAFKA_SASL_MECHANISM"]


@pytest.mark.parametrize("name", ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
def test_a_name_or_a_password_beside_a_token_has_no_effect(token: dict[str, str], name: str) -> None:
    assert mistakes(OAUTH | token | {name: "x"}) == [f"{name}, KAFKA_SASL_MECHANISM"]


@pytest.mark.parametrize("name", ["no.such.module:x", "json:nothing", "json:__name__", "json", ":", "json:loads:x"])
def test_a_provider_must_be_there(name: str) -> None:
    assert mistakes(OAUTH | {"KAFKA_OAUTH_TOKEN_PROVIDER": name}) == ["KAFKA_OAUTH_TOKEN_PROVIDER"]


def test_a_key_must_open_with_the_passphrase(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    sealed, other = authority.issue("sealed", password=PASSPHRASE), authority.issue("other")
    ours = {"KAFKA_SSL_CERTFILE": str(sealed.certificate), "KAFKA_SSL_KEYFILE": str(sealed.key)}
    trusted = {"KAFKA_SSL_CAFILE": str(authority.certificate)}
    opened = load(REQUIRED | TLS | trusted | ours | {"KAFKA_SSL_PASSWORD": PASSPHRASE}, env_file=None).settings
    assert connection_of(opened).arguments()["ssl_context"] is not None
    about = ["KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE, KAFKA_SSL_PASSWORD"]
    assert mistakes(TLS | ours) == about  # and does not ask for it at the terminal
    assert mistakes(TLS | ours | {"KAFKA_SSL_PASSWORD": PASSPHRASE[1:]}) == about
    assert mistakes(TLS | ours | {"KAFKA_SSL_PASSWORD": PASSPHRASE, "KAFKA_SSL_KEYFILE": str(other.key)}) == about


def test_authorities_must_be_certificates(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate\n")
    assert mistakes(TLS | {"KAFKA_SSL_CAFILE": str(empty)}) == ["KAFKA_SSL_CAFILE"]
