"""What the settings must satisfy together, and the words in which a mistake is told."""

from __future__ import annotations

import importlib
import importlib.util
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Values = Mapping[str, Any]


def plain_http_url(value: str) -> str:
    """Accept an http(s) address without user, query or fragment; cut a trailing slash."""
    try:
        parts = urlsplit(value)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its message would quote the value
        sound = False
    if not sound or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(_URL)
    return value.rstrip("/")


def importable(value: str) -> str:
    """Accept `module:function` that is there."""
    module, _, name = value.partition(":")
    try:
        sound = callable(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(_FACTORY)
    return value


def with_tracing(value: bool) -> bool:
    """Accept true only where the SDK is there."""
    if value and importlib.util.find_spec("opentelemetry") is None:
        raise ValueError(_TRACING)
    return value


def split_commas(value: object) -> object:
    """Read "a, b" as two values; leave what is no string as it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def expected(error: ErrorDetails) -> str:
    """One line: the variable and what was expected, never what was found. Empty if it only follows another."""
    variable = str(error["loc"][0]).upper()
    if error["type"] == "default_factory_not_called":
        return ""
    if error["type"] == "missing":
        return f"{variable}: required, and not set"
    if error["type"] == "string_pattern_mismatch":
        return f"{variable}: {_TOPIC if variable.startswith('TOPIC') else _SERVERS}"
    if error["type"].startswith("byte_size"):
        return f"{variable}: {_BYTES}"
    text = error["msg"].removeprefix("Value error, ").replace("Input should ", "expected to ")
    return f"{variable}: {text[0].lower()}{text[1:]}".replace("expected to be ", "expected ")


_BYTES = "expected bytes, such as 67108864 or 64MiB"
_FACTORY = "expected module:function that can be imported"
_SERVERS = "expected host:port, comma separated"
_TRACING = "true needs OpenTelemetry: pip install 'track-intake[tracing]' (the image has it)"
_TOPIC = "expected a topic's name: up to 249 letters, digits, dots, dashes and underscores"
_URL = "expected an http or https address without user, password, query and fragment"


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds over several fields, `names`; it is silent while one of them is wrong by itself."""

    names: tuple[str, ...]
    holds: Callable[[Values], bool]
    says: str


def broken_rules(values: Values, unknown: Collection[str]) -> tuple[str, ...]:
    """Tell of each rule that does not hold, except those about a field in `unknown`."""
    return tuple(
        f"{', '.join(name.upper() for name in rule.names)}: {rule.says}"
        for rule in RULES
        if not any(name in unknown for name in rule.names) and not rule.holds(values)
    )


def _below(lesser: str, greater: str, why: str) -> Rule:
    return Rule((lesser, greater), lambda v: v[lesser] < v[greater], f"expected the first below the second: {why}")


def _at_most(lesser: str, greater: str, why: str) -> Rule:
    return Rule((lesser, greater), lambda v: v[lesser] <= v[greater], f"expected the first at most the second: {why}")


def _differ(first: str, second: str) -> Rule:
    return Rule((first, second), lambda v: v[first] != v[second], "expected different topics")


def _needs(name: str, needed: str, why: str) -> Rule:
    return Rule(
        (name, needed), lambda v: v[name] is None or v[needed] is not None, f"expected the second to be set: {why}"
    )


def _needs_protocol(name: str, word: str) -> Rule:
    return Rule(
        (name, "kafka_security_protocol"),
        lambda v: v[name] is None or word in v["kafka_security_protocol"],
        f"expected a protocol with {word}, or the first unset: it would have no effect",
    )


def _needed_for_sasl(name: str) -> Rule:
    return Rule(
        (name, "kafka_security_protocol"),
        lambda v: v[name] is not None or "SASL" not in v["kafka_security_protocol"] or _by_token(v),
        "expected the first to be set, as the protocol asks for a login",
    )


def _by_token(values: Values) -> bool:
    return bool(values["kafka_sasl_mechanism"] == _OAUTH)


def _only_with_token(name: str) -> Rule:
    return Rule(
        (name, "kafka_sasl_mechanism"),
        lambda v: v[name] is None or _by_token(v),
        f"expected the second to be {_OAUTH}, or the first unset: it would have no effect",
    )


def _not_with_token(name: str) -> Rule:
    return Rule(
        (name, "kafka_sasl_mechanism"),
        lambda v: v[name] is None or not _by_token(v),
        f"expected the first unset with {_OAUTH}: the token says who we are",
    )


def _authorities_read(values: Values) -> bool:
    return values["kafka_ssl_cafile"] is None or _loads(
        lambda context: context.load_verify_locations(values["kafka_ssl_cafile"])
    )


def _key_opens(values: Values) -> bool:
    certificate, key, password = (values[name] for name in _OURS)
    if certificate is None or key is None:
        return True
    # Without a password OpenSSL would ask at the terminal.
    opened = password.get_secret_value() if password else ""
    return _loads(lambda context: context.load_cert_chain(certificate, key, opened))


def _loads(into: Callable[[ssl.SSLContext], None]) -> bool:
    try:
        into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except (OSError, ValueError):  # SSLError is an OSError; ValueError: a passphrase that is too long
        return False
    return True


_OAUTH = "OAUTHBEARER"
_OURS = ("kafka_ssl_certfile", "kafka_ssl_keyfile", "kafka_ssl_password")
_TOKENS = ("kafka_oauth_token_file", "kafka_oauth_token_provider")
_SASL = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
_TLS = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile", "kafka_ssl_password")
_OUTPUTS = ("topic_approve", "topic_review", "topic_reject")
_TOPICS = ("topic_submitted", *_OUTPUTS, "topic_dead_letter")

RULES: tuple[Rule, ...] = (
    _below("hs_first_poll_seconds", "record_deadline_seconds", "no result can be in before the first poll"),
    _at_most("hs_timeout_seconds", "record_deadline_seconds", "a paid call would be cut"),
    _at_most("hs_connect_timeout_seconds", "hs_timeout_seconds", "connecting is a part of the request"),
    _at_most("retry_base_seconds", "retry_max_seconds", "the waits grow from the one to the other"),
    _below("rebalance_drain_seconds", "kafka_rebalance_timeout_seconds", "the group would drop us"),
    _below("commit_interval_seconds", "kafka_transaction_timeout_seconds", "commits must come more often"),
    _at_most("max_concurrency", "max_buffered_records", "what is in flight is buffered, too"),
    Rule(
        ("mode", "hs_api_generation"),
        lambda v: v["mode"] != "bulk" or v["hs_api_generation"] == 1,
        "expected another mode than bulk: the contract of this generation's jobs of many tracks is not public",
    ),
    *(_needs_protocol(name, "SASL") for name in _SASL),
    *(_needed_for_sasl(name) for name in _SASL),
    *(_needs_protocol(name, "SSL") for name in _TLS),
    Rule(
        ("kafka_ssl_certfile", "kafka_ssl_keyfile"),
        lambda v: (v["kafka_ssl_certfile"] is None) == (v["kafka_ssl_keyfile"] is None),
        "expected both or neither",
    ),
    Rule(("kafka_ssl_cafile",), _authorities_read, "expected certificates of authorities, in PEM"),
    Rule(_OURS, _key_opens, "expected a certificate and its key, in PEM, and the key's passphrase if it has one"),
    *(_not_with_token(name) for name in _SASL[1:]),
    *(_only_with_token(name) for name in _TOKENS),
    Rule(
        (*_TOKENS, "kafka_sasl_mechanism"),
        lambda v: not _by_token(v) or (v[_TOKENS[0]] is None) != (v[_TOKENS[1]] is None),
        f"expected one of the first two with {_OAUTH}",
    ),
    *(_differ("topic_submitted", name) for name in (*_OUTPUTS, "topic_dead_letter")),
    *(_differ(name, "topic_dead_letter") for name in _OUTPUTS),
    *(_differ(name, "topic_webhook") for name in _TOPICS),
    _needs("webhook_url", "webhook_secret", "without it anybody could tell us results"),
    _needs("webhook_secret", "webhook_url", "without it nothing is received"),
    _needs("webhook_secret_old", "webhook_secret", "it is the one before"),
    Rule(
        ("http_port", "webhook_port"),
        lambda v: v["webhook_url"] is None or v["http_port"] == 0 or v["http_port"] != v["webhook_port"],
        "expected different ports: the one is for operators, the other open to the world",
    ),
)
