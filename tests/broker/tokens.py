"""Access tokens as an identity provider signs them, and the file of public keys by which the broker checks them."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import orjson
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

if TYPE_CHECKING:
    from pathlib import Path

KEY_ID = "test-key"


class TokenIssuer:
    """Signs tokens with a key of its own (RS256)."""

    def __init__(self) -> None:
        self._key = generate_private_key(public_exponent=65537, key_size=2048)

    def write_keys(self, path: Path) -> None:
        """Write the public key as a JWKS file."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": KEY_ID,
            "alg": "RS256",
            "use": "sig",
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        path.write_bytes(orjson.dumps({"keys": [key]}))

    def token(self, subject: str, *, seconds: float = 3600) -> str:
        """A token for a subject that ends so many seconds from now."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        claims = {"sub": subject, "iat": now - 60, "exp": now + int(seconds), "scope": "kafka"}
        signed = ".".join(_base64(orjson.dumps(part)) for part in (header, claims))
        return f"{signed}.{_base64(self._key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
