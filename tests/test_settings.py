"""Settings: environment over `.env` over defaults; every mistake at once, by name, and no value of one shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from worker.settings import Settings, SettingsError, load, shown
from worker.settings_checks import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REQUIRED = {"HS_API_KEY": "key", "KAFKA_BOOTSTRAP_SERVERS": "broker:9092"}
SECRETS = ("HS_API_KEY", "KAFKA_SASL_PASSWORD", "KAFKA_SSL_PASSWORD", "WEBHOOK_SECRET", "WEBHOOK_SECRET_OLD")
NAMES = [name.upper() for name in Settings.model_fields]
SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
    "KAFKA_SASL_USERNAME": "worker",
    "KAFKA_SASL_PASSWORD": "hidden",
}

WEBHOOKS = {"WEBHOOK_URL": "https://intake.example.com/webhooks/humanstandard", "WEBHOOK_SECRET": "secret"}


def settings(**environ: str) -> Settings:
    return load(REQUIRED | environ, env_file=None).settings


def mistakes(environ: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refusal:
        load(environ, env_file=None)
    return refusal.value.mistakes


def test_two_values_are_enough() -> None:
    loaded = load(REQUIRED, env_file=None)
    assert loaded.settings.policy == "two-tier"
    assert loaded.settings.guarantee == "exactly_once"
    assert loaded.sources == {"hs_api_key": "environment", "kafka_bootstrap_servers": "environment"}


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "https://app.jobsbyhumans.com/api/v1"),
        ({"HS_API_GENERATION": "1"}, "https://app.jobsbyhumans.com/api/v1"),
        ({"HS_API_GENERATION": "2"}, "https://app.jobsbyhumans.com/api"),
        ({"HS_API_GENERATION": "2", "HS_BASE_URL": "http://localhost:1/x/"}, "http://localhost:1/x"),
    ],
)
def test_the_address_follows_the_generation_unless_it_is_set(environ: dict[str, str], address: str) -> None:
    assert settings(**environ).hs_base_url == address


def test_the_environment_wins_over_the_file_and_empty_is_unset(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("HS_API_KEY=from-file\nMAX_CONCURRENCY=7\nMAX_ATTEMPTS=9\nUNRELATED=1\n")
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "b:1", "MAX_CONCURRENCY": "8", "MAX_ATTEMPTS": "", "LOG_LEVEL": ""}
    loaded = load(environ, env_file=file)
    assert (loaded.settings.max_concurrency, loaded.settings.max_attempts) == (8, 9)
    assert loaded.settings.log_level == "info"
    assert loaded.sources["max_concurrency"] == "environment"
    assert loaded.sources["max_attempts"] == ".env"
    assert "log_level" not in loaded.sources


def test_a_missing_file_is_no_mistake(tmp_path: Path) -> None:
    assert load(REQUIRED, env_file=tmp_path / "none").settings.max_attempts == 5


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        settings().max_attempts = 6


def test_words_are_read_in_any_case_and_lists_by_commas(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.touch()
    two.touch()
    read = settings(
        LOG_LEVEL="WARNING", GUARANTEE="AT_LEAST_ONCE", POLICY_FILES=f"{one}, {two},", MAX_BUFFERED_BYTES="2MiB"
    )
    assert (read.log_level, read.guarantee, read.max_buffered_bytes) == ("warning", "at_least_once", 2 * 1024 * 1024)
    assert read.policy_files == (one, two)


def test_all_mistakes_come_at_once_those_over_several_fields_too() -> None:
    told = mistakes(
        {
            "HS_API_GENERATION": "3",
            "HTTP_PORT": "70000",
            "LOG_LEVEL": "loud",
            "RECORD_DEADLINE_SECONDS": "20",
            "TOPIC_REVIEW": "track-submitted",
        }
    )
    assert [line.partition(":")[0] for line in told] == [
        "HS_API_KEY",
        "HS_API_GENERATION",
        "KAFKA_BOOTSTRAP_SERVERS",
        "HTTP_PORT",
        "LOG_LEVEL",
        "HS_FIRST_POLL_SECONDS, RECORD_DEADLINE_SECONDS",
        "HS_TIMEOUT_SECONDS, RECORD_DEADLINE_SECONDS",
        "TOPIC_SUBMITTED, TOPIC_REVIEW",
    ]
    assert "expected 1 or 2" in told[1]
    assert "expected less than or equal to 65535" in told[3]


def test_a_rule_is_silent_while_one_of_its_fields_is_wrong_by_itself() -> None:
    told = mistakes(REQUIRED | {"RECORD_DEADLINE_SECONDS": "-1", "HS_FIRST_POLL_SECONDS": "901"})
    assert told == ("RECORD_DEADLINE_SECONDS: expected greater than 0",)


def test_a_size_of_an_unknown_unit_is_refused_without_showing_it() -> None:
    assert mistakes(REQUIRED | {"MAX_BUFFERED_BYTES": "64hidden"}) == (
        "MAX_BUFFERED_BYTES: expected bytes, such as 67108864 or 64MiB",
    )


@pytest.mark.parametrize(
    ("environ", "about"),
    [
        ({"HS_FIRST_POLL_SECONDS": "900"}, "HS_FIRST_POLL_SECONDS, RECORD_DEADLINE_SECONDS"),
        ({"HS_TIMEOUT_SECONDS": "901"}, "HS_TIMEOUT_SECONDS, RECORD_DEADLINE_SECONDS"),
        ({"HS_CONNECT_TIMEOUT_SECONDS": "121"}, "HS_CONNECT_TIMEOUT_SECONDS, HS_TIMEOUT_SECONDS"),
        ({"RETRY_BASE_SECONDS": "61"}, "RETRY_BASE_SECONDS, RETRY_MAX_SECONDS"),
        ({"REBALANCE_DRAIN_SECONDS": "90"}, "REBALANCE_DRAIN_SECONDS, KAFKA_REBALANCE_TIMEOUT_SECONDS"),
        ({"COMMIT_INTERVAL_SECONDS": "15"}, "COMMIT_INTERVAL_SECONDS, KAFKA_TRANSACTION_TIMEOUT_SECONDS"),
        ({"MAX_CONCURRENCY": "10001"}, "MAX_CONCURRENCY, MAX_BUFFERED_RECORDS"),
        ({"KAFKA_SASL_USERNAME": "x"}, "KAFKA_SASL_USERNAME, KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SSL_PASSWORD": "x"}, "KAFKA_SSL_PASSWORD, KAFKA_SECURITY_PROTOCOL"),
        (
            {name: value for name, value in SASL.items() if "PASSWORD" not in name},
            "KAFKA_SASL_PASSWORD, KAFKA_SECURITY_PROTOCOL",
        ),
        ({"TOPIC_APPROVE": "x", "TOPIC_DEAD_LETTER": "x"}, "TOPIC_APPROVE, TOPIC_DEAD_LETTER"),
        ({"TOPIC_DEAD_LETTER": "track-submitted"}, "TOPIC_SUBMITTED, TOPIC_DEAD_LETTER"),
        ({"TOPIC_WEBHOOK": "track-submitted"}, "TOPIC_SUBMITTED, TOPIC_WEBHOOK"),
        ({"TOPIC_WEBHOOK": "track-dead-letter"}, "TOPIC_DEAD_LETTER, TOPIC_WEBHOOK"),
        ({"WEBHOOK_URL": "https://x"}, "WEBHOOK_URL, WEBHOOK_SECRET"),
        ({"WEBHOOK_SECRET": "x"}, "WEBHOOK_SECRET, WEBHOOK_URL"),
        ({"WEBHOOK_SECRET_OLD": "x"}, "WEBHOOK_SECRET_OLD, WEBHOOK_SECRET"),
        (WEBHOOKS | {"WEBHOOK_PORT": "8080"}, "HTTP_PORT, WEBHOOK_PORT"),
    ],
)
def test_each_rule_is_told_by_the_names_it_is_about(environ: dict[str, str], about: str) -> None:
    assert [line.partition(":")[0] for line in mistakes(REQUIRED | environ)] == [about]


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    told = mistakes(REQUIRED | {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": str(certificate)})
    assert told == ("KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: expected both or neither",)


def test_bounds_are_where_the_rules_say() -> None:
    read = settings(
        HS_TIMEOUT_SECONDS="900",
        HS_CONNECT_TIMEOUT_SECONDS="900",
        HS_FIRST_POLL_SECONDS="899.9",
        RETRY_BASE_SECONDS="60",
        REBALANCE_DRAIN_SECONDS="89.9",
        MAX_CONCURRENCY="10000",
        HTTP_PORT="0",
        RATE_LIMIT_PER_MINUTE="0",
        **SASL,
    )
    assert read.http_port == 0


def test_webhooks_are_off_until_their_address_is_set() -> None:
    assert settings(WEBHOOK_PORT="8080").webhook_url is None
    read = settings(**WEBHOOKS, HTTP_PORT="0", WEBHOOK_PORT="0")
    assert (read.webhook_url, read.topic_webhook) == (WEBHOOKS["WEBHOOK_URL"], "track-webhook")


def test_every_rule_reads_fields_that_exist() -> None:
    assert {name for rule in RULES for name in rule.names} <= set(Settings.model_fields)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host",
        "host",
        "https://user:hidden@host",
        "https://host?key=hidden",
        "http://[hidden",
        "http://[hidden]/",
        "http://h:hidden",
    ],
)
def test_an_address_that_would_carry_a_secret_is_refused_without_showing_it(address: str) -> None:
    (told,) = mistakes(REQUIRED | {"HS_BASE_URL": address})
    assert "hidden" not in told


@given(name=st.sampled_from(NAMES), value=st.from_regex(r"[a-z]{0,3}Zq[a-z0-9:/@.,-]{6,20}Zq", fullmatch=True))
def test_no_mistake_shows_the_value_that_it_is_about(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(REQUIRED | {"LOG_FORMAT": "loud", name: value, "LOG_LEVEL": "loud"}, env_file=None)
    assert value not in str(refusal.value)
    assert value[-8:] not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_secrets_are_shown_as_being_set_and_nothing_more() -> None:
    read = settings(**SASL | WEBHOOKS | {"HS_API_KEY": "hidden", "WEBHOOK_SECRET": "hidden"})
    rows = {name.upper(): shown(value) for name, value in read}
    assert "hidden" not in repr(read)
    assert [rows[name] for name in SECRETS] == ["********", "********", "-", "********", "-"]
    assert {name.upper() for name, value in read if isinstance(value, SecretStr)} < set(SECRETS)
    assert (rows["SANDBOX"], rows["COMMIT_INTERVAL_SECONDS"], rows["POLICY_FILES"]) == ("false", "0.2", "-")


def test_a_command_can_do_without_a_required_value() -> None:
    loaded = load({"KAFKA_BOOTSTRAP_SERVERS": "b:1"}, env_file=None, unneeded=["hs_api_key"])
    assert loaded.settings.topic_review == "track-review"


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
