"""Charts to render: the tree's, with an alert rule and a dashboard of ours beside whatever deploy/ has."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy.chart import CHART

if TYPE_CHECKING:
    from pathlib import Path

CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
RULE = {"alert": "Sample", "expr": "up == 0", "annotations": {"summary": "{{ $labels.pod }} is `down`"}}
RULES = {"groups": [{"name": "sample", "rules": [RULE]}]}
DASHBOARD = '{"title": "{{instance}} of \\"tracks\\"", "uid": "sample"}\n'


def values(case: str, **changes: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{case}-values.yaml").read_text())
    return loaded | changes


def copied(place: Path) -> Path:
    """Copy the chart and give it the samples."""
    chart = place / CHART.name
    shutil.copytree(CHART, chart)
    for name, text in {"alerts/sample.yaml": yaml.safe_dump(RULES), "dashboards/sample_1.json": DASHBOARD}.items():
        (chart / "files" / name).parent.mkdir(exist_ok=True)
        (chart / "files" / name).write_text(text)
    return chart
