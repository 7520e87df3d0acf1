"""Settings with which a secured broker refuses us, and what `check` has to say to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.broker.security import KEY_PASSWORD, WORKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker.security import SecuredKafka


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in the settings, and how `check` tells it."""

    settings: Callable[[SecuredKafka], dict[str, str]]
    fact: str
    mend: str


MISTAKES = {
    "wrong password": Mistake(
        lambda secured: secured.scram(KAFKA_SASL_PASSWORD=KEY_PASSWORD),
        f"the broker refuses the login of {WORKER} (SCRAM-SHA-512)",
        "KAFKA_SASL_PASSWORD",
    ),
    "unknown user": Mistake(
        lambda secured: secured.scram("nobody"), "refuses the login of nobody (SCRAM-SHA-512)", "KAFKA_SASL_USERNAME"
    ),
    "mechanism": Mistake(
        lambda secured: secured.scram(KAFKA_SASL_MECHANISM="PLAIN"), "offers no PLAIN", "KAFKA_SASL_MECHANISM"
    ),
    "unknown authority": Mistake(
        lambda secured: secured.scram(KAFKA_SSL_CAFILE=str(secured.stranger.certificate)),
        "signed by an authority that we do not trust",
        "KAFKA_SSL_CAFILE",
    ),
    "wrong name": Mistake(
        lambda secured: secured.scram(KAFKA_BOOTSTRAP_SERVERS=secured.by_another_name),
        "is for another name than the one we connect to",
        "KAFKA_BOOTSTRAP_SERVERS",
    ),
    "the broker's certificate has expired": Mistake(
        lambda secured: secured.lapsed(), "the broker's certificate has expired", "Renew it"
    ),
    "our certificate has expired": Mistake(
        lambda secured: secured.mutual(expired=True), "the broker refuses our certificate", "openssl x509"
    ),
    "our certificate is a stranger's": Mistake(
        lambda secured: secured.mutual(authority=secured.stranger), "refuses our certificate", "openssl x509"
    ),
    "no certificate of ours": Mistake(
        lambda secured: secured.scram() | secured.no_certificate(),
        "the broker wants a certificate of ours",
        "KAFKA_SSL_CERTFILE",
    ),
    "no TLS": Mistake(
        lambda secured: {"KAFKA_BOOTSTRAP_SERVERS": secured.scram()["KAFKA_BOOTSTRAP_SERVERS"]},
        "closes the connection at once",
        "KAFKA_SECURITY_PROTOCOL",
    ),
    "no TLS there": Mistake(
        lambda secured: secured.scram() | secured.bare(), "the broker closes the connection", "KAFKA_SECURITY_PROTOCOL"
    ),
    "no login there": Mistake(
        lambda secured: secured.scram() | secured.mutual() | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
        "the broker asks for no login on this port",
        "KAFKA_SECURITY_PROTOCOL",
    ),
    "another port": Mistake(
        lambda secured: secured.scram(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9"), "nobody listens there", "KAFKA_BOOTSTRAP"
    ),
    "a token that has expired": Mistake(
        lambda secured: secured.oauth(secured.issuer.token(WORKER, seconds=-60)),
        "the broker refuses the access token",
        "expired",
    ),
    "a token of a stranger": Mistake(
        lambda secured: secured.oauth(secured.foreign_issuer.token(WORKER)), "refuses the access token", "trust who"
    ),
    "no token in the file": Mistake(
        lambda secured: secured.oauth("a-token-that-nobody-may-see another-one"),
        "KAFKA_OAUTH_TOKEN_FILE holds no token",
        "renews the token",
    ),
}
