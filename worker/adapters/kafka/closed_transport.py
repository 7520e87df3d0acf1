"""Writing to a connection that is closing: what uvloop raises becomes what aiokafka expects.

Between a reset and its notice, a write to uvloop's transport raises RuntimeError where asyncio's own is silent.
aiokafka expects OSError there, so the error ends its background tasks. One of them refreshes the metadata: afterwards
the client waits for ever for what nobody fetches any more (aio-libs/aiokafka issue 1038, open since 2024). asyncio's
own loop would cost CPU on every event, for the sake of one line.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

if TYPE_CHECKING:
    from collections.abc import Callable


def _translating(send: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(send)
    def translated(connection: AIOKafkaConnection, *arguments: Any, **options: Any) -> Any:
        try:
            return send(connection, *arguments, **options)
        except KafkaError:
            raise
        except RuntimeError as exc:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"connection to {connection.host}:{connection.port} is closed") from exc

    return translated


def install() -> None:
    """Do so for every connection of this process; harmless when done already."""
    for name in ("send", "_send_sasl_token"):
        send = getattr(AIOKafkaConnection, name)
        if not hasattr(send, "__wrapped__"):
            setattr(AIOKafkaConnection, name, _translating(send))
