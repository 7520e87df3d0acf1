"""What the chart has from elsewhere: alert rules, dashboards, the settings' names and defaults.

Helm reads no file outside a chart, so it carries copies. `python -m tests.deploy.chart --write` (make chart) makes
them, test_chart.py compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import SecretStr

from worker.settings import Settings, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "track-intake"
# No secret by its type, but it often lies beside the password: it may come from either place.
BESIDE_A_SECRET = {"KAFKA_SASL_USERNAME"}
# What the templates set by themselves.
SET_BY_THE_CHART = {
    *("KAFKA_GROUP_INSTANCE_ID", "KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE", "HS_CA_FILE"),
    *("WEBHOOK_URL", "WEBHOOK_PORT", "TRACING"),
}
SOURCE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": {"type": "string", "minLength": 1}, "key": {"type": "string", "minLength": 1}},
}


def copies(deploy: Path = DEPLOY, chart: Path = CHART) -> dict[Path, str]:
    """Every file that is made: its path in the chart, and the text that it has to have."""
    files = chart / "files"
    return {
        **{files / "alerts" / path.name: path.read_text() for path in rule_files(deploy)},
        **{
            files / "dashboards" / path.name: path.read_text()
            for path in sorted((deploy / "dashboards").glob("*.json"))
        },
        files / "defaults.json": as_json(defaults()),
        chart / "values.schema.json": as_json(with_settings(json.loads((chart / "values.schema.json").read_text()))),
    }


def rule_files(deploy: Path) -> list[Path]:
    """Files of alert rules: not those of promtool's unit tests, which name rule_files."""
    rules = [path for path in sorted((deploy / "alerts").glob("*.yaml")) if "rule_files" not in read(path)]
    if wrong := [path.name for path in rules if "groups" not in read(path)]:
        raise ValueError(f"no alert rules (groups), and no tests of them (rule_files): {wrong}")
    return rules


def read(path: Path) -> Mapping[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


def differences(deploy: Path = DEPLOY, chart: Path = CHART) -> dict[Path, str | None]:
    """What has to be written (text) or removed (None) for the chart to be up to date."""
    wanted = copies(deploy, chart)
    there = {path for room in ("alerts", "dashboards") for path in (chart / "files" / room).glob("*")}
    stale: dict[Path, str | None] = dict.fromkeys(there - wanted.keys())
    return stale | {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}


def write(changes: Mapping[Path, str | None]) -> None:
    for path, text in changes.items():
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation)) or "SecretStr" in str(field.annotation)


def secret_names() -> set[str]:
    fields = Settings.model_fields.items()
    return {name.upper() for name, field in fields if is_secret(field)} | BESIDE_A_SECRET


def names() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def open_names() -> list[str]:
    """Settings that an operator may write into `settings`."""
    return [name for name in names() if name not in (secret_names() - BESIDE_A_SECRET) | SET_BY_THE_CHART]


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """The values' schema with the worker's settings: each under its own name, a secret only as a reference."""
    said = {name: Settings.model_fields[name.lower()].description or "" for name in names()}
    properties = schema["properties"]
    properties["settings"]["properties"] = {
        name: {"description": said[name], "type": ["string", "number", "boolean", "null"]} for name in open_names()
    }
    properties["secrets"]["properties"] = {
        name: {"description": said[name], **SOURCE} for name in names() if name in secret_names()
    }
    return schema


def defaults() -> dict[str, str]:
    """The worker's own defaults, as the environment would have them."""
    return dict(_defaults())


def _defaults() -> Iterator[tuple[str, str]]:
    for name in open_names():
        field = Settings.model_fields[name.lower()]
        if name == "HS_BASE_URL":
            yield name, field.get_default(call_default_factory=True, validated_data={"hs_api_generation": 1})
        elif not field.is_required() and (value := shown(field.default)) != "-":
            yield name, value


if __name__ == "__main__":
    changes = differences()
    if "--write" in sys.argv:
        write(changes)
    else:
        sys.stdout.writelines(f"{path.relative_to(DEPLOY)}\n" for path in changes)
        sys.exit(bool(changes))
