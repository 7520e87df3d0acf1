"""deploy/dashboards, made of the boards in code: `python -m tests.deploy.dashboards --write` (make chart).

The library is Grafana's own (its types and builders, generated from Grafana's schemas), so what it writes is what
Grafana reads. test_dashboards.py compares the files with what would be made, and holds the linter's rules.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deploy.boards.bulk import BULK
from tests.deploy.boards.intake import INTAKE
from tests.deploy.boards.worker import WORKER
from worker.adapters.telemetry.catalogue import PREFIX

try:
    from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common as styles
    from grafana_foundation_sdk.models import dashboard as models
except ImportError as missing:
    raise ImportError("grafana-foundation-sdk is missing: make tools") from missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.deploy.boards.panels import Board, Panel, Query

PLACE = Path(__file__).parents[2] / "deploy" / "dashboards"
BOARDS = (INTAKE, WORKER, BULK)
HEIGHTS = {"number": 4}
USUAL_HEIGHT = 8
EXEMPLARS = re.compile(r"_duration_seconds_bucket|_wait_seconds_bucket|_age_seconds_bucket")  # dots that lead to traces
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Name, label, and the query for its values. Each asks for what the ones before it choose.
VARIABLES = (
    ("job", "Job", f"label_values({PREFIX}build_info, job)"),
    ("instance", "Instance", f'label_values({PREFIX}build_info{{job=~"$job"}}, instance)'),
    ("topic", "Topic", f'label_values({PREFIX}partition_queued{{job=~"$job", instance=~"$instance"}}, topic)'),
)


def files() -> dict[str, str]:
    """Name and text of each file."""
    return {f"{board.uid}.json": as_json(board) for board in BOARDS}


def as_json(board: Board) -> str:
    """The dashboard as Grafana imports it, with its keys in an order that does not change."""
    made = json.loads(JSONEncoder(sort_keys=True).encode(_dashboard(board)))
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _dashboard(board: Board) -> Any:
    made = builders.Dashboard(board.title).uid(board.uid).description(board.description).tags(["track-intake"])
    made = made.readonly().time(board.since, "now").refresh("30s").timezone("browser")
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.link(builders.DashboardLink("Track intake").type("dashboards").tags(["track-intake"]).keep_time(True))  # noqa: FBT003 - the builder's way
    made = made.with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for name, label, query in VARIABLES:
        made = made.with_variable(_variable(name, label, query))
    for row in board.rows:
        made = made.with_row(builders.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(_panel(panel))
    return made.build()


def _variable(name: str, label: str, query: str) -> Any:
    made = builders.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    return made.include_all(True).multi(True).all_value(".+").current(everything)  # noqa: FBT003 - the builder's way


def _panel(panel: Panel) -> Any:
    made = _number() if panel.kind == "number" else _graph(panel)
    made = made.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    made = made.span(panel.width).height(HEIGHTS.get(panel.kind, USUAL_HEIGHT)).min(0)
    if panel.most is not None:
        made = made.max(panel.most)
    made = made.thresholds(_thresholds(panel.warn_above))
    for number, query in enumerate(panel.queries):
        made = made.with_target(_target(query, chr(ord("A") + number), instant=panel.kind == "number"))
    return made


def _number() -> Any:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().reduce_options(last).graph_mode(styles.BigValueGraphMode.NONE)


def _graph(panel: Panel) -> Any:
    legend = common.VizLegendOptions().display_mode(styles.LegendDisplayMode.LIST).show_legend(True)  # noqa: FBT003 - the builder's way
    made = timeseries.Panel().legend(legend.placement(styles.LegendPlacement.BOTTOM)).line_width(1)
    made = made.tooltip(common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI))
    if panel.warn_above is not None:
        made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(styles.GraphThresholdsStyleMode.LINE))
    if panel.kind == "graph":
        return made
    return made.fill_opacity(40).stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))


def _thresholds(warn_above: float | None) -> Any:
    steps = [models.Threshold(value=None, color="green")]
    if warn_above is not None:
        steps.append(models.Threshold(value=warn_above, color="orange"))
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _target(query: Query, ref: str, *, instant: bool) -> Any:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(SOURCE)
    if instant:
        return made.instant()
    return made.range().exemplar(EXEMPLARS.search(query.expr) is not None)


def differences(place: Path = PLACE) -> dict[Path, str | None]:
    """What has to be written (text) or removed (None)."""
    wanted = {place / name: text for name, text in files().items()}
    stale: dict[Path, str | None] = dict.fromkeys(set(place.glob("*.json")) - wanted.keys())
    return stale | {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}


def write(changes: Mapping[Path, str | None]) -> None:
    for path, text in changes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if text is None else path.write_text(text)


if __name__ == "__main__":
    changes = differences()
    if "--write" in sys.argv:
        write(changes)
    else:
        sys.stdout.writelines(f"{path.name}\n" for path in changes)
        sys.exit(bool(changes))
