"""A broker that trusts nobody: SCRAM over TLS, mutual TLS and OAUTHBEARER over TLS, and every right granted by an ACL.

A fourth listener without any security is the administrator's: whoever is anonymous is the super user. There the tests
submit, read back and grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from tests.broker.certificates import Authority
from tests.broker.kafka import KafkaCluster, administrator
from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.server import Additions
from tests.broker.tokens import TokenIssuer
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiokafka.protocol.api import Request

WORKER, OPERATOR = "intake", "operator"
PASSWORD = "scram-password-that-nobody-may-see"  # noqa: S105 - of a broker that lives for one test
SESSION_SECONDS = 2  # the broker ends connections that logged in with a token so long ago
KEY_PASSWORD = "key-password-that-nobody-may-see"  # noqa: S105 - of keys that live for one test
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
RESOURCES = {"topic": 2, "group": 3, "transactional id": 5}
LITERAL, PREFIXED, ALLOW, ANY_HOST = 3, 4, 3, "*"

SASL = ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")

PROPERTIES = """\
listeners=PLAINTEXT://{host}:{admin},CONTROLLER://{host}:{controller},SCRAM://{host}:{scram},MUTUAL://{host}:{mutual},\
OAUTH://{host}:{oauth},LAPSED://{host}:{lapsed}
advertised.listeners=PLAINTEXT://{host}:{admin},SCRAM://{host}:{scram},MUTUAL://{host}:{mutual},OAUTH://{host}:{oauth},\
LAPSED://{host}:{lapsed}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL,OAUTH:SASL_SSL,\
LAPSED:SSL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.lapsed.ssl.keystore.location={lapsed_keystore}
listener.name.mutual.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwt.validator.class=org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator
listener.name.oauth.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://{keys}
listener.name.oauth.oauthbearer.sasl.oauthbearer.clock.skew.seconds=0
listener.name.oauth.oauthbearer.connections.max.reauth.ms={session_ms}
"""


@dataclass(frozen=True, slots=True)
class Acl:
    """One line of the list of rights, with real names: what may be done with what."""

    operation: str
    resource: str
    name: str
    prefix: bool = False

    def fields(self, principal: str) -> tuple[int, str, int, str, str, int, int]:
        """As Kafka's requests want it."""
        pattern = PREFIXED if self.prefix else LITERAL
        kind, operation = RESOURCES[self.resource], OPERATIONS[self.operation]
        return kind, self.name, pattern, f"User:{principal}", ANY_HOST, operation, ALLOW


class SecuredKafka:
    """One broker with everything above; `home` then holds the certificates, too."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authority = Authority(home, "authority")
        self.stranger = Authority(home, "stranger")
        self.issuer, self.foreign_issuer = TokenIssuer(), TokenIssuer()
        self._ports = dict(zip(("scram", "mutual", "oauth", "lapsed"), free_ports(4), strict=True))
        self.cluster = KafkaCluster(home, additions=self._additions())

    def _additions(self) -> Additions:
        server = self.authority.issue("broker", address=LOOPBACK)
        lapsed = self.authority.issue("lapsed-broker", address=LOOPBACK, expired=True)
        keys = self.home / "jwks.json"
        self.issuer.write_keys(keys)
        return Additions(
            lambda admin, controller: PROPERTIES.format(
                host=LOOPBACK,
                admin=admin,
                controller=controller,
                keystore=server.both(),
                lapsed_keystore=lapsed.both(),
                truststore=self.authority.certificate,
                keys=keys,
                session_ms=SESSION_SECONDS * 1000,
                **self._ports,
            ),
            format_options=tuple(
                option
                for user in (WORKER, OPERATOR)
                for option in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]")
            ),
            # Without it the broker reads no key file: CVE-2025-27817.
            java_options=(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{keys}",),
        )

    async def grant(self, principal: str, *acls: Acl) -> None:
        """Give a principal these rights; returns when the broker goes by them."""
        await self._change([CreateAclsRequest(*acl.fields(principal)) for acl in acls])
        await self._until(principal, acls, present=True)

    async def revoke(self, principal: str, *acls: Acl) -> None:
        """Take these rights away; returns when the broker goes by it."""
        await self._change([DeleteAclsRequest(*acl.fields(principal)) for acl in acls])
        await self._until(principal, acls, present=False)

    async def _change(self, requests: Sequence[Request[Any]]) -> None:
        async with administrator(self.cluster.bootstrap_servers) as admin:
            for request in requests:
                # aiokafka's admin client has no call for ACLs, but speaks their protocol.
                response = (await admin._send_request(request)).to_object()
                [answer] = response.get("creation_responses") or response["filter_responses"]
                assert answer["error_code"] == 0, answer

    async def _until(self, principal: str, acls: tuple[Acl, ...], *, present: bool) -> None:
        async with administrator(self.cluster.bootstrap_servers) as admin:

            async def seen() -> bool:
                found = [await admin._send_request(DescribeAclsRequest(*acl.fields(principal))) for acl in acls]
                return all(bool(each.resources) is present for each in found)

            await wait_until(f"the rights of {principal} are {'there' if present else 'gone'}", seen, 10, 0.02)

    # How a worker comes in: its settings.

    def scram(self, user: str = WORKER, **changed: str) -> dict[str, str]:
        """Settings to come in with a password."""
        own = {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": PASSWORD,
        }
        return self._at("scram") | own | changed

    def mutual(self, *, authority: Authority | None = None, expired: bool = False) -> dict[str, str]:
        """Settings to come in with a certificate made for this."""
        issued = (authority or self.authority).issue(WORKER, expired=expired, password=KEY_PASSWORD)
        return self._at("mutual") | {
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CERTFILE": str(issued.certificate),
            "KAFKA_SSL_KEYFILE": str(issued.key),
            "KAFKA_SSL_PASSWORD": KEY_PASSWORD,
        }

    def renew(self, token: str) -> None:
        """Put a token where the worker looks, as Kubernetes does: in one step."""
        fresh = self.token_file.with_suffix(".new")
        fresh.write_text(token + "\n")
        fresh.replace(self.token_file)

    def no_certificate(self) -> dict[str, str]:
        """Settings for the listener that wants a certificate, without one."""
        return dict.fromkeys(SASL, "") | self._at("mutual") | {"KAFKA_SECURITY_PROTOCOL": "SSL"}

    def bare(self) -> dict[str, str]:
        """The address of the listener that has neither TLS nor a login."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap_servers}

    @property
    def by_another_name(self) -> str:
        """The listener for passwords, under a name that its certificate has not."""
        return f"localhost:{self._ports['scram']}"

    def lapsed(self) -> dict[str, str]:
        """Settings for the listener whose certificate has expired."""
        return self._at("lapsed") | {"KAFKA_SECURITY_PROTOCOL": "SSL"}

    def oauth(self, token: str) -> dict[str, str]:
        """Settings to come in with a token, which becomes the file's."""
        self.renew(token)
        return self._at("oauth") | {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "KAFKA_OAUTH_TOKEN_FILE": str(self.token_file),
        }

    @property
    def token_file(self) -> Path:
        return self.home / "token"

    def _at(self, listener: str) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{self._ports[listener]}",
            "KAFKA_SSL_CAFILE": str(self.authority.certificate),
        }
