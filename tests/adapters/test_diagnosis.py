"""What an operator reads when the brokers cannot be reached: the cause, the setting, and nothing that is secret."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace

import pytest
from aiokafka.errors import (
    BrokerResponseError,
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.diagnosis import cause, told
from worker.adapters.kafka.tokens import TokenError

HIDDEN = "what-nobody-may-see"
SCRAM = Connection("b:1", "c", sasl_mechanism="SCRAM-SHA-512", sasl_username="intake", sasl_password=HIDDEN)
OAUTH = Connection("b:1", "c", sasl_mechanism="OAUTHBEARER")
MUTUAL = Connection("b:1", "c", security_protocol="SSL", ssl_certfile="/c.pem", ssl_password=HIDDEN)


def distrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL says"
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def closed_by(error: BaseException) -> KafkaConnectionError:
    closed = KafkaConnectionError("Connection at b:1 closed")
    closed.__cause__ = error
    return closed


@pytest.mark.parametrize(
    ("error", "connection", "fact", "mend"),
    [
        (distrusted(10), SCRAM, "certificate has expired", "Renew"),
        (distrusted(9), SCRAM, "not valid yet", "clock"),
        (distrusted(18), SCRAM, "authority that we do not trust", "KAFKA_SSL_CAFILE"),
        (distrusted(20), SCRAM, "authority that we do not trust", "KAFKA_SSL_CAFILE"),
        (distrusted(62), SCRAM, "another name", "advertised.listeners"),
        (distrusted(64), SCRAM, "another name", "KAFKA_BOOTSTRAP_SERVERS"),
        (distrusted(23), SCRAM, "as OpenSSL says", "issued"),
        (closed_by(alert("TLSV13_ALERT_CERTIFICATE_REQUIRED")), SCRAM, "wants a certificate", "KAFKA_SSL_CERTFILE"),
        (closed_by(alert("SSLV3_ALERT_CERTIFICATE_UNKNOWN")), MUTUAL, "refuses our certificate", "-in /c.pem"),
        (alert("TLSV1_ALERT_UNKNOWN_CA"), MUTUAL, "refuses our certificate", "-in /c.pem"),
        (alert("WRONG_VERSION_NUMBER"), MUTUAL, "TLS fails: WRONG_VERSION_NUMBER", "KAFKA_SECURITY_PROTOCOL"),
        (SaslAuthenticationFailed(HIDDEN), SCRAM, "login of intake (SCRAM-SHA-512)", "KAFKA_SASL_PASSWORD"),
        (SaslAuthenticationFailed(HIDDEN), OAUTH, "refuses the access token", "expired"),
        (UnsupportedSaslMechanismError(), SCRAM, "offers no SCRAM-SHA-512", "KAFKA_SASL_MECHANISM"),
        (IllegalSaslStateError(), SCRAM, "asks for no login", "KAFKA_SECURITY_PROTOCOL"),
        (TokenError("KAFKA_OAUTH_TOKEN_FILE holds no token"), OAUTH, "holds no token", "renews"),
        (socket.gaierror(-2, "Name or service not known"), SCRAM, "name is not known", "KAFKA_BOOTSTRAP_SERVERS"),
        (ConnectionRefusedError(111, "refused"), SCRAM, "nobody listens there", "KAFKA_BOOTSTRAP_SERVERS"),
        (TimeoutError(), SCRAM, "no answer within 5 s", "firewall"),
        (ConnectionResetError(), SCRAM, "closes the connection", "KAFKA_SECURITY_PROTOCOL"),
        (closed_by(EOFError()), MUTUAL, "closes the connection", "KAFKA_SSL_CERTFILE"),
        (BrokerResponseError(HIDDEN), SCRAM, "BrokerResponseError", "KAFKA_SASL_"),
        (OSError(HIDDEN), SCRAM, "OSError", "KAFKA_SSL_"),
    ],
)
def test_each_error_has_its_words(error: BaseException, connection: Connection, fact: str, mend: str) -> None:
    found = told(error, connection)
    assert fact in found.fact
    assert mend in found.mend
    assert HIDDEN not in found.fact + found.mend


async def test_the_server_that_was_tried_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    found = await cause(replace(SCRAM, bootstrap_servers=f"127.0.0.1:{port}"))
    assert found.fact == f"127.0.0.1:{port}: nobody listens there"
