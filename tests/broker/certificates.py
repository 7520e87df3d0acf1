"""Certificates and keys made for one run of the tests, those that must be refused among them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as two PEM files."""

    certificate: Path
    key: Path

    def both(self) -> Path:
        """Key and certificate in one file, as a broker's key store."""
        path = self.key.with_suffix(".both.pem")
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        return path


class Authority:
    """Signs certificates; `certificate` is the PEM file to trust."""

    def __init__(self, home: Path, name: str) -> None:
        self._home, self._name = home, _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = home / f"{name}.pem"
        built = _builder(self._name, self._name, self._key.public_key(), expired=False)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        signed = built.add_extension(constraints, critical=True).sign(self._key, SHA256())
        self.certificate.write_bytes(signed.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, address: str | None = None, expired: bool = False, password: str = "") -> Identity:
        """Certify a subject, by its own name or by an IP address; `password` seals the key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if address is not None:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
        signed = (
            _builder(_named(name), self._name, key.public_key(), expired=expired)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, SHA256())
        )
        found = Identity(self._home / f"{name}.crt.pem", self._home / f"{name}.key.pem")
        found.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        sealed: KeySerializationEncryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
        return found


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool
) -> x509.CertificateBuilder:
    until = datetime.now(UTC) + (-DAY if expired else DAY)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 3 * DAY)
        .not_valid_after(until)
    )
