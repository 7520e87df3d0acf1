"""The SDK's own variables: what cannot be used starts nothing, and no secret in them is ever written down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from worker.cli import Exit
from worker.otlp_checks import mistakes

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
SECRET = "hidden"  # noqa: S105 - the word that must not show
ENDPOINT, HEADERS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"
OF_TRACES = {name: name.replace("OTLP_", "OTLP_TRACES_") for name in (ENDPOINT, HEADERS)}
SAMPLER, SHARE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
WRONG: tuple[Mapping[str, str], ...] = (
    *({ENDPOINT: value} for value in ("collector:4318", f"user:{SECRET}@collector:4318", "http://", "ftp://collector")),
    *({ENDPOINT: f"http://collector{rest}"} for rest in (":0", ":x", f"?key={SECRET}", f"/#{SECRET}")),
    {ENDPOINT: f"http://user:{SECRET}@collector:4318"},
    {ENDPOINT: "http://[::1"},
    {OF_TRACES[ENDPOINT]: f"https://collector/v1/traces?key={SECRET}", ENDPOINT: "http://collector"},
    *({HEADERS: value} for value in (SECRET, f'authorization=Bearer "{SECRET}"', f"a=1;{SECRET}", f"a={SECRET}%0A")),
    *({HEADERS: value} for value in (f"a={SECRET}%E2%82%AC", f"=b{SECRET}", f"a b={SECRET}", f"a%3A={SECRET}")),
    {OF_TRACES[HEADERS]: SECRET, HEADERS: "a=1"},
    {SAMPLER: "sometimes"},
    *({SAMPLER: "traceidratio", SHARE: share} for share in ("", "-0.1", "7", "half", "nan")),
    {SAMPLER: "parentbased_traceidratio"},
)
SOUND: tuple[Mapping[str, str], ...] = (
    {},
    {ENDPOINT: "", HEADERS: "", SAMPLER: ""},
    {ENDPOINT: "http://collector:4318/"},
    {ENDPOINT: "https://[::1]:4318/otlp"},
    {OF_TRACES[ENDPOINT]: "https://collector/v1/traces", ENDPOINT: "not in force"},
    {HEADERS: f"authorization=Bearer {SECRET},x-scope = a%20b ,,"},
    {HEADERS: f"authorization=Basic%20{SECRET}=="},
    {SAMPLER: "Always_Off"},
    {SAMPLER: "parentbased_traceidratio", SHARE: "0.25"},
)


@pytest.mark.parametrize("environ", WRONG)
def test_a_mistake_is_told_by_its_variable_and_without_its_value(environ: Mapping[str, str]) -> None:
    (told,) = mistakes(environ)
    assert told.partition(":")[0] in {*environ, SHARE}
    assert SECRET not in told


@pytest.mark.parametrize("environ", SOUND)
def test_what_the_sdk_understands_is_none(environ: Mapping[str, str]) -> None:
    assert mistakes(environ) == ()


def test_every_mistake_is_told_at_once() -> None:
    assert len(mistakes({ENDPOINT: "collector", HEADERS: "x", SAMPLER: "traceidratio"})) == 3


members = st.text(st.sampled_from('ab-=%20AF ;"\\\t\r\né:,'), max_size=12)


@given(st.lists(members, max_size=3).map(",".join))
def test_the_sdk_reads_whatever_headers_are_let_through(text: str) -> None:
    if not mistakes({HEADERS: text}):
        read = parse_env_headers(text, liberal=True)
        assert len(read) == len({part.split("=")[0].strip().lower() for part in text.split(",") if part.strip()})
        assert all(f"{name}{value}".isascii() and f"{name}{value}".isprintable() for name, value in read.items())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (HEADERS, f'authorization=Bearer "{SECRET}"'),
        (ENDPOINT, f"user:{SECRET}@collector:4318"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody"),
    ],
)
def test_a_worker_does_not_start_with_one_and_says_why_in_a_line(tmp_path: Path, variable: str, value: str) -> None:
    ours = {"TRACING": "true", "HS_API_KEY": "-", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "HTTP_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "run"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | ours | {variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert len(done.stderr.splitlines()) == 2
    assert SECRET not in done.stderr
