"""Why the brokers cannot be reached, in an operator's words: no secret, and nothing that a broker wrote."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from worker.adapters.kafka.tokens import TokenError

if TYPE_CHECKING:
    from worker.adapters.kafka.connection import Connection

TRY_SECONDS = 5.0
_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_*
_WRONG_NAME = {62, 64}
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
_WANTED = ("BAD_CERTIFICATE", "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
_PROTOCOL = "See that KAFKA_SECURITY_PROTOCOL is what this port of the brokers speaks."
_ADDRESS = "Check KAFKA_BOOTSTRAP_SERVERS."


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, and how to mend it."""

    fact: str
    mend: str


Words = Callable[[Any, "Connection"], Cause]


async def cause(connection: Connection) -> Cause:
    """Connect to the bootstrap servers one by one; what keeps us from the first that can be told."""
    for host, port, _ in collect_hosts(connection.bootstrap_servers, randomize=False):
        try:
            async with asyncio.timeout(TRY_SECONDS):
                await _ask(connection, host, port)
        except (KafkaError, OSError, TimeoutError) as exc:
            found = told(exc, connection)
            return Cause(f"{host}:{port}: {found.fact}", found.mend)
    return Cause("they answer now, and did not a moment ago", "Try again.")


async def _ask(connection: Connection, host: str, port: int) -> None:
    options = {**connection.arguments()}
    for name in ("bootstrap_servers", "metadata_max_age_ms"):
        options.pop(name)
    opened = await create_conn(host, port, **options)
    try:
        await opened.send(MetadataRequest([]))  # TLS 1.3 brokers refuse a certificate only after the handshake
    finally:
        opened.close()


def told(exc: BaseException, connection: Connection) -> Cause:
    """One error as a cause."""
    if isinstance(exc, KafkaConnectionError) and isinstance(exc.__cause__, ssl.SSLError):
        exc = exc.__cause__
    for kind, words in _WORDS:  # the first that fits: the more special ones come first
        if isinstance(exc, kind):
            return words(exc, connection)
    return Cause(type(exc).__name__, "Check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_SSL_* and KAFKA_SASL_* settings.")


def _distrusted(exc: Any, _connection: Connection) -> Cause:
    match exc.verify_code:
        case code if code in _UNKNOWN_AUTHORITY:
            fact = "the broker's certificate is signed by an authority that we do not trust"
            return Cause(fact, "Set KAFKA_SSL_CAFILE to the certificate of the authority that signs the brokers'.")
        case code if code in _WRONG_NAME:
            fact = "the broker's certificate is for another name than the one we connect to"
            mend = "Use a name that the certificate has, in KAFKA_BOOTSTRAP_SERVERS and in advertised.listeners."
            return Cause(fact, mend)
        case code if code == _EXPIRED:
            return Cause("the broker's certificate has expired", "Renew it; or is the clock of this machine wrong?")
        case code if code == _NOT_YET_VALID:
            return Cause("the broker's certificate is not valid yet", "Is the clock of this machine wrong?")
    return Cause(f"the broker's certificate cannot be trusted: {exc.verify_message}", "Have it issued anew.")


def _alert(exc: Any, connection: Connection) -> Cause:
    """A fault of TLS that is not about the broker's certificate: most often the broker's word about ours."""
    reason = exc.reason or ""
    if connection.ssl_certfile is None and any(word in reason for word in _WANTED):
        mend = "Set KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE."
        return Cause("the broker wants a certificate of ours", mend)
    if "ALERT" in reason and connection.ssl_certfile is not None:
        mend = f"See when it ends: openssl x509 -noout -issuer -enddate -in {connection.ssl_certfile}"
        fact = "the broker refuses our certificate: it has expired, or is signed by an authority unknown to the broker"
        return Cause(fact, mend)
    return Cause(f"TLS fails: {reason or type(exc).__name__}", _PROTOCOL)


def _refused(_exc: Any, connection: Connection) -> Cause:
    if connection.sasl_mechanism == "OAUTHBEARER":
        mend = "See that it has not expired, and that the brokers trust who issued it."
        return Cause("the broker refuses the access token", mend)
    fact = f"the broker refuses the login of {connection.sasl_username} ({connection.sasl_mechanism})"
    return Cause(fact, "Check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.")


def _closed(_exc: Any, connection: Connection) -> Cause:
    or_ours = " It may also refuse KAFKA_SSL_CERTFILE." if connection.ssl_certfile is not None else ""
    return Cause("the broker closes the connection at once", _PROTOCOL + or_ours)


def _no_token(exc: Any, _connection: Connection) -> Cause:
    return Cause(str(exc), "See that whoever renews the token writes it there.")


def _not_offered(_exc: Any, connection: Connection) -> Cause:
    fact = f"the broker offers no {connection.sasl_mechanism} on this port"
    return Cause(fact, "Set KAFKA_SASL_MECHANISM to one that it offers.")


def _always(fact: str, mend: str) -> Words:
    return lambda _exc, _connection: Cause(fact, mend)


_WORDS: tuple[tuple[type[BaseException], Words], ...] = (
    (TokenError, _no_token),
    (ssl.SSLCertVerificationError, _distrusted),
    (ssl.SSLError, _alert),
    (SaslAuthenticationFailed, _refused),
    (UnsupportedSaslMechanismError, _not_offered),
    (IllegalSaslStateError, _always("the broker asks for no login on this port", _PROTOCOL)),
    (socket.gaierror, _always("the name is not known", _ADDRESS)),
    (ConnectionRefusedError, _always("nobody listens there", _ADDRESS)),
    (TimeoutError, _always(f"no answer within {TRY_SECONDS:g} s", f"{_ADDRESS} Does a firewall stand between?")),
    (KafkaConnectionError, _closed),
    (ConnectionError, _closed),
)
