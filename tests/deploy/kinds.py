"""What a cluster would refuse in a manifest, by the schemas of two Kubernetes versions and of the operators.

The schemas of Kubernetes are read strictly: a name that they do not know is an error, as it is for
`kubectl apply --validate=strict`. Those of KEDA and of the Prometheus operator come out of generated models, which let
unknown names pass; they are closed here. Strimzi publishes none in a package: KafkaTopic's is written down below.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema_rs import Draft202012Validator, ValidationError

if TYPE_CHECKING:
    from tests.deploy.helm import Manifest

# The oldest that the chart allows, and the newest that there are schemas for.
VERSIONS = ("1.31", "1.37")
OPERATORS = {
    ("keda.sh/v1alpha1", "ScaledObject"): "cloudcoil.models.keda.v1alpha1",
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "cloudcoil.models.prometheus_operator.v1",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "cloudcoil.models.prometheus_operator.v1",
}
KAFKA_TOPIC = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "kafka.strimzi.io/v1"},
        "kind": {"const": "KafkaTopic"},
        "metadata": {"type": "object", "required": ["name", "labels"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "topicName": {"type": "string", "pattern": "^[a-zA-Z0-9._-]{1,249}$"},
                "partitions": {"type": "integer", "minimum": 1},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 32767},
                "config": {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}},
            },
        },
    },
}


def complaints(manifest: Manifest, version: str) -> list[str]:
    """Everything that the schemas have against it; a kind without a schema is a complaint, too."""
    kind = manifest["apiVersion"], manifest["kind"]
    if kind in OPERATORS or kind[1] == "KafkaTopic":
        schema = closed(*kind) if kind in OPERATORS else KAFKA_TOPIC
        return [_told(error) for error in Draft202012Validator(schema).iter_errors(manifest)]
    validator = importlib.import_module("kubernetes_validate")  # by name: it is there only where the group is installed
    try:
        validator.validate(manifest, version, strict=True)
    except validator.ValidationError as refusal:
        return [f"{'.'.join(map(str, refusal.path))}: {refusal.message}"]
    except validator.SchemaNotFoundError as missing:
        return [missing.message]
    return []


def _told(error: ValidationError) -> str:
    return f"{'.'.join(map(str, error.instance_path))}: {error.message}"


@cache
def closed(api_version: str, kind: str) -> dict[str, Any]:
    """An operator's schema in which no object takes a name that it does not declare."""
    model = getattr(importlib.import_module(OPERATORS[api_version, kind]), kind)
    schema: dict[str, Any] = _closed(model.model_json_schema(by_alias=True))
    return schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema["properties"] and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner
