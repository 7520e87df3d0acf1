"""How to reach the brokers: one value, and the arguments that aiokafka's three clients have in common."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError
from aiokafka.helpers import create_ssl_context

from worker.adapters.kafka import closed_transport, tokens, tolerant_records

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from aiokafka.abc import AbstractTokenProvider

AWAY_SECONDS = 2.0  # between two rounds over all bootstrap servers


@dataclass(frozen=True, slots=True)
class Connection:
    """Addresses and security. Passwords stay out of the repr."""

    bootstrap_servers: str
    client_id: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    sasl_tokens: AbstractTokenProvider | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = field(default=None, repr=False)
    request_timeout_seconds: float = 10.0
    metadata_max_age_seconds: float = 60.0  # aiokafka's 300 leave partitions that are added unread for five minutes

    def arguments(self) -> Mapping[str, Any]:
        """Keyword arguments for AIOKafkaConsumer, AIOKafkaProducer and AIOKafkaAdminClient."""
        closed_transport.install()
        tolerant_records.install()
        tokens.install()
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "request_timeout_ms": round(self.request_timeout_seconds * 1000),
            "metadata_max_age_ms": round(self.metadata_max_age_seconds * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context(),
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "sasl_oauth_token_provider": self.sasl_tokens,
        }

    def _ssl_context(self) -> ssl.SSLContext | None:
        if "SSL" not in self.security_protocol.replace("SASL", ""):
            return None
        context: ssl.SSLContext = create_ssl_context(
            cafile=self.ssl_cafile,
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            password=self.ssl_password or "",  # without one OpenSSL asks at the terminal, and waits
        )
        return context


async def until_reachable(connect: Callable[[], Awaitable[None]]) -> None:
    """Try until a broker answers: a process that ended instead would be back long after the brokers are."""
    while True:
        try:
            await connect()
        except KafkaConnectionError:  # aiokafka has logged which address refused, and why
            await asyncio.sleep(AWAY_SECONDS)
        else:
            return
