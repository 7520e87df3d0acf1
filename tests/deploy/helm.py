"""The chart through Helm's own engine: linted and rendered, in a process of its own.

The engine is the Go library of Helm 4 in a wheel (the extra `deploy`); the environment variable HELM names a helm
command to use instead. In a process of its own, because the library's threads and signal handlers are no guests for a
suite that forks and counts milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

RELEASE, NAMESPACE = "intake", "tracks"
ERROR = 3  # severity of a finding, as Helm numbers them
Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm refuses the chart or the values. The text is Helm's."""


def lint(chart: Path, values: dict[str, Any]) -> list[str]:
    """Findings that are more than information."""
    if command := os.environ.get("HELM"):
        done = _run([command, "lint", "--strict", str(chart)], values)
        return [] if done.returncode == 0 else [done.stdout + done.stderr]
    said: list[str] = _through_library({"do": "lint", "chart": str(chart), "values": values})
    return said


def render(chart: Path, values: dict[str, Any], kube_version: str = "1.31.0") -> list[Manifest]:
    """Every manifest, hooks included. Raises HelmError. The library renders for the version it is built with."""
    if command := os.environ.get("HELM"):
        words = [command, "template", RELEASE, str(chart), "-n", NAMESPACE, "--kube-version", kube_version]
        done = _run(words, values)
        if done.returncode:
            raise HelmError(done.stderr)
        return _manifests([done.stdout])
    texts: list[str] = _through_library({"do": "render", "chart": str(chart), "values": values})
    return _manifests(texts)


def _manifests(texts: list[str]) -> list[Manifest]:
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def _run(words: list[str], values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return subprocess.run([*words, "-f", file.name], capture_output=True, text=True, check=False, timeout=60)


def _through_library(request: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.helm"],
        cwd=Path(__file__).parents[2],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise HelmError(done.stderr)
    return json.loads(done.stdout)


def _asked(request: dict[str, Any]) -> list[str]:
    """Answer one request with the library; in the process that is made for it."""
    helm = importlib.import_module("helm_python")  # imported by name: it is there only where the extra is installed
    chart, values = request["chart"], request["values"]
    if request["do"] == "lint":
        found = helm.lint(chart, values, strict=True, kube_version="v1.31.0")
        return [f"{each['path']}: {each['error']}" for each in found["messages"] if each["severity"] > 1]
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(loaded.merge_values(values))
        rendered: dict[str, str] = loaded.render(values, name=RELEASE, namespace=NAMESPACE)
    return [text for path, text in rendered.items() if path.endswith(".yaml")]


if __name__ == "__main__":
    try:
        answer = _asked(json.load(sys.stdin))
    except ImportError:
        sys.exit("helm-python-sdk is missing: make tools; or HELM=/path/to/helm names a helm command")
    except RuntimeError as refusal:
        sys.exit(str(refusal))
    json.dump(answer, sys.stdout)
