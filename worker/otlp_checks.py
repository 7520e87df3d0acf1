"""What the SDK's own variables must satisfy before it reads them: it quotes what it cannot read, secrets as well.

- A header that it cannot parse goes to the log with its value, an address that does not answer with its query.
- A sampler that it does not know keeps every trace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from worker.settings_checks import plain_http_url

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLER, SHARE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")  # the first that is set holds
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PLAIN = ("always_on", "always_off", "parentbased_always_on", "parentbased_always_off")
_BY_SHARE = ("traceidratio", "parentbased_traceidratio")
# What the SDK takes for a header, less what HTTP would refuse once the percent signs are read.
_HEADER = re.compile(r"([!#$%&'*+.0-9A-Z^_`a-z|~-]+)[ \t]*=([ !#-+\--:<-\[\]-~\t]*)")
_NAME = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z|~-]+")
_VALUE = re.compile(r"[ -~]*")


def mistakes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Tell what cannot be used, one line each that begins with the variable's name and never quotes its value."""
    found: list[str] = []
    endpoint, headers = _holding(environ, _ENDPOINTS), _holding(environ, _HEADERS)
    if endpoint is not None:
        try:
            plain_http_url(environ[endpoint])
        except ValueError as refusal:
            found.append(f"{endpoint}: {refusal}")
    if headers is not None and not all(map(_is_header, environ[headers].split(","))):
        found.append(f"{headers}: expected name=value, comma separated, the values percent-encoded")
    sampler = environ.get(SAMPLER, "").lower()
    if sampler and sampler not in (*_PLAIN, *_BY_SHARE):
        found.append(f"{SAMPLER}: expected one of {', '.join((*_PLAIN, *_BY_SHARE))}")
    if sampler in _BY_SHARE and not _is_share(environ.get(SHARE, "")):
        found.append(f"{SHARE}: expected a number from 0 to 1")
    return tuple(found)


def _holding(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if environ.get(name)), None)


def _is_header(member: str) -> bool:
    if not member.strip():
        return True
    found = _HEADER.fullmatch(member.strip())
    return found is not None and bool(_NAME.fullmatch(unquote(found[1])) and _VALUE.fullmatch(unquote(found[2])))


def _is_share(value: str) -> bool:
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False
