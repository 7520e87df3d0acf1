"""Environment and `.env` to one frozen value; every mistake is reported at once, by name.

The environment wins over `.env`; an empty value counts as unset. A refused value is never shown, only what
was expected: what ends up in the wrong variable may well be a secret.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from worker.settings_checks import broken_rules, expected, importable, plain_http_url, split_commas, with_tracing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Topic = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
Servers = Annotated[str, StringConstraints(pattern=r"^[^\s:,/]+:\d+(,\s*[^\s:,/]+:\d+)*$")]
Url = Annotated[str, AfterValidator(plain_http_url)]
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
Upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
Protocol = Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Upper]
Mechanism = Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], Upper]
Number = BeforeValidator(lambda value: int(value) if isinstance(value, str) and value.isdecimal() else value)
Secret = Annotated[SecretStr, Field(min_length=1)]

# Stand in for required values that are wrong, while the rules look at the others.
_PLACEHOLDERS = {"hs_api_key": "-", "kafka_bootstrap_servers": "-:0"}
_BASE_URLS = {1: "https://app.jobsbyhumans.com/api/v1", 2: "https://app.jobsbyhumans.com/api"}


class Settings(BaseModel):
    """Everything that can be set. A field is named like its environment variable, in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    hs_api_key: Secret
    """The API key, sent as a bearer token with every call."""
    hs_api_generation: Annotated[Literal[1, 2], Number] = 1
    """1: a call answers with the result. 2: a call answers with a job that is polled."""
    hs_base_url: Url = Field(default_factory=lambda data: _BASE_URLS[data.get("hs_api_generation", 1)])
    """Address of the API. Unset: the vendor's address for the generation."""
    hs_first_poll_seconds: Seconds = 25.0
    """Generation 2: first poll after submission, until recent durations have taught a better value."""
    hs_poll_interval_seconds: Seconds = 5.0
    """Generation 2: wait between the first two polls of a job; the waits then grow."""
    hs_timeout_seconds: Seconds = 120.0
    """One request in all. Generation 1 analyses within it: about 48 s, up to 30 s more after a cold start."""
    hs_connect_timeout_seconds: Seconds = 10.0
    """Making a connection to the API."""
    hs_ca_file: FilePath | None = None
    """Certificate authorities (PEM) to trust for the API instead of the built-in ones."""

    kafka_bootstrap_servers: Servers
    """Brokers to start from: host:port, comma separated."""
    kafka_group_id: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "track-intake"
    """Consumer group. The transactional ids begin with it."""
    kafka_client_id: Annotated[str, StringConstraints(min_length=1)] = "track-intake"
    """Name of this client in the brokers' logs and quotas."""
    kafka_group_instance_id: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Static membership: unique for each replica and stable over restarts, such as the pod's name."""
    kafka_security_protocol: Protocol = "PLAINTEXT"
    """How to talk to the brokers."""
    kafka_sasl_mechanism: Mechanism | None = None
    """With SASL: how to log in. OAUTHBEARER: with an access token instead of a name and a password."""
    kafka_sasl_username: str | None = None
    """With SASL: who logs in."""
    kafka_sasl_password: Secret | None = None
    """With SASL: the password."""
    kafka_oauth_token_file: FilePath | None = None
    """With OAUTHBEARER: the access token, as Kubernetes projects it; read anew for every connection."""
    kafka_oauth_token_provider: Annotated[str, AfterValidator(importable)] | None = None
    """Instead of the file: module:function of yours that returns an aiokafka.abc.AbstractTokenProvider."""
    kafka_ssl_cafile: FilePath | None = None
    """With TLS: certificate authorities (PEM) to trust for the brokers. Unset: the system's."""
    kafka_ssl_certfile: FilePath | None = None
    """With mutual TLS: our certificate (PEM)."""
    kafka_ssl_keyfile: FilePath | None = None
    """With mutual TLS: its private key (PEM)."""
    kafka_ssl_password: Secret | None = None
    """With mutual TLS: the passphrase of the private key."""
    kafka_session_timeout_seconds: Seconds = 10.0
    """A worker that is silent for this long loses its partitions: how long a crash stalls them."""
    kafka_rebalance_timeout_seconds: Seconds = 90.0
    """How long the group waits for this worker in a rebalance."""
    kafka_transaction_timeout_seconds: Seconds = 15.0
    """The broker aborts a transaction that stays open for longer."""
    kafka_metadata_max_age_seconds: Seconds = 60.0
    """How long the brokers' word on topics counts: added partitions are taken up within it, at worst three times it."""
    kafka_auto_offset_reset: Annotated[Literal["earliest", "latest", "none"], Lower] = "earliest"
    """Where a partition without a commit starts, also one that is added. none: refuse, and end."""

    topic_submitted: Topic = "track-submitted"
    """Input: tracks to decide."""
    topic_approve: Topic = "track-approve"
    """Output: decisions approve and certified."""
    topic_review: Topic = "track-review"
    """Output: decisions manual_review and review."""
    topic_reject: Topic = "track-reject"
    """Output: decisions reject and rejected."""
    topic_dead_letter: Topic = "track-dead-letter"
    """Output: records that are no event, as they came."""
    topic_webhook: Topic = "track-webhook"
    """Internal, with WEBHOOK_URL: events of jobs on their way to the replica that owns the partition."""

    policy: Annotated[str, StringConstraints(min_length=1)] = "two-tier"
    """For events that name no policy: two-tier, certification, strict, permissive, or a TOML file's path."""
    policy_files: Annotated[tuple[FilePath, ...], BeforeValidator(split_commas)] = ()
    """More policies that events may name: paths of TOML files, comma separated."""
    sandbox: bool = False
    """true: mock results may become decisions. Only for tests against a simulated API."""

    guarantee: Annotated[Literal["exactly_once", "at_least_once"], Lower] = "exactly_once"
    """exactly_once: decisions and progress in one transaction. at_least_once: without transactions."""
    max_concurrency: Count = 64
    """Analyses in flight at most (generation 2: from submission to result)."""
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = 60
    """Requests a minute, polls included, for the key: replicas divide it by their partitions. 0: no limit of ours."""
    commit_interval_seconds: Seconds = 0.2
    """Pause between two publications of a partition."""
    record_deadline_seconds: Seconds = 900.0
    """A track without a result this long after its first call goes to manual review (analysis_timeout)."""
    max_attempts: Count = 5
    """Calls for one track before its failure is its result."""
    retry_base_seconds: Seconds = 1.0
    """Upper bound of the first retry's random wait; it doubles with each attempt."""
    retry_max_seconds: Seconds = 60.0
    """Upper bound of any retry's random wait."""
    unknown_outcome_repeats: Annotated[int, Field(ge=0)] = 1
    """Repeats of a submission that may have been bought without an answer. Each may be a second purchase."""
    retry_budget_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Retries at most, as a share of first submissions, for the whole process; ten a minute are always allowed."""
    outage_policy: Annotated[Literal["wait", "review"], Lower] = "wait"
    """While the API as a whole is out. wait: tracks keep their place and their time. review: people decide them."""
    mode: Annotated[Literal["direct", "bulk", "auto"], Lower] = "auto"
    """direct: every track by itself. bulk: in jobs of many. auto: whichever clears a partition's backlog sooner."""
    bulk_above_seconds: Seconds = 300.0
    """With auto: a backlog that single calls would need longer for is cleared by jobs."""
    bulk_max_items: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """Tracks in a job at most."""
    bulk_max_wait_seconds: Seconds = 30.0
    """A job is made of fewer tracks when the oldest has waited this long for it."""
    bulk_poll_seconds: Seconds = 20.0
    """Least wait between two questions for a job; where webhooks tell of its end, few are asked."""
    bulk_deadline_seconds: Seconds = 21_600.0
    """Tracks of a job without a result this long after its first call go to manual review (analysis_timeout)."""
    adaptive_concurrency: bool = True
    """true: the number of analyses in flight follows 429s, 503s, time-outs and latency. false: MAX_CONCURRENCY."""
    hold_probe_seconds: Seconds = 30.0
    """While the API refuses the key or the account: time between two probes. Out as a whole: a sixth to twice that."""
    dead_letter_stop_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A partition stops when more than this share of its last 100 records were dead letters. 1: never."""
    dead_letter_stop_consecutive: Annotated[int, Field(ge=0)] = 50
    """A partition stops after so many dead letters in a row. 0: never."""
    max_buffered_records: Count = 10_000
    """Records in memory at most, over all partitions; where they may go in jobs, a whole job's in each all the same."""
    max_buffered_bytes: Annotated[ByteSize, Field(ge=1024 * 1024)] = ByteSize(64 * 1024 * 1024)
    """Bytes of records in memory at most, over all partitions. Units such as 64MiB are understood."""
    rebalance_drain_seconds: Seconds = 60.0
    """Before partitions may move: how long running calls may still finish, so that nobody buys them again."""
    drain_seconds: Seconds = 90.0
    """After SIGTERM: how long running calls may still finish."""

    http_host: Annotated[str, StringConstraints(min_length=1)] = "0.0.0.0"  # noqa: S104 - probes come from outside
    """Address for /livez, /readyz, /metrics and /status."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port for them. 0: any free one, which is logged."""
    webhook_url: Url | None = None
    """Public address that leads to /webhooks/humanstandard on WEBHOOK_PORT of any replica. Unset: no webhooks."""
    webhook_secret: Secret | None = None
    """With WEBHOOK_URL: the API's webhook secret, which signs every event."""
    webhook_secret_old: Secret | None = None
    """During a rotation: the secret before it, which is accepted as well."""
    webhook_host: Annotated[str, StringConstraints(min_length=1)] = "0.0.0.0"  # noqa: S104 - the API is outside
    """Address for webhooks."""
    webhook_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    """Port for them, never that of HTTP_PORT: it is open to the world. 0: any free one, which is logged."""
    tracing: Annotated[bool, AfterValidator(with_tracing)] = False
    """true: spans go out by OTLP over HTTP. OTEL_EXPORTER_OTLP_ENDPOINT and the SDK's other variables say where to."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = "info"
    """Least severe log line that is written."""
    log_format: Annotated[Literal["json", "console"], Lower] = "json"
    """json: one object a line, on standard output. console: for people."""


class SettingsError(Exception):
    """The settings cannot be used. `mistakes` has one line for each, beginning with the variable's name."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the place that each value which is not a default came from."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
    unneeded: Collection[str] = (),
) -> Loaded:
    """Read the settings, or raise SettingsError with every mistake; do without the `unneeded` required ones."""
    surroundings = os.environ if environ is None else environ
    from_file = {} if env_file is None else _ours(dotenv_values(env_file))
    from_environ = _ours(surroundings)
    raw = dict.fromkeys(unneeded, "-") | from_file | from_environ
    sources = dict.fromkeys(from_file, ".env") | dict.fromkeys(from_environ, "environment")
    return Loaded(_checked(raw), sources)


def _ours(values: Mapping[str, str | None]) -> dict[str, str]:
    by_name = {name.lower(): value for name, value in values.items() if name.isupper()}
    return {name: value for name in Settings.model_fields if (value := by_name.get(name))}


def _checked(raw: Mapping[str, Any]) -> Settings:
    """Validate; on mistakes, the rules over several fields speak as well, about the fields that are sound."""
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as refusal:
        wrong = {str(error["loc"][0]): expected(error) for error in refusal.errors(include_url=False)}
        sound = {name: value for name, value in raw.items() if name not in wrong}
        rest = broken_rules(dict(Settings.model_validate(_PLACEHOLDERS | sound)), unknown=wrong.keys())
        raise SettingsError((*(text for text in wrong.values() if text), *rest)) from None
    if mistakes := broken_rules(dict(settings), unknown=()):
        raise SettingsError(mistakes)
    return settings


def shown(value: object) -> str:
    """One setting's value for people; a secret only as being set."""
    if value is None or value == ():
        return "-"
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
