"""What a dashboard is made of, in plain values: boards of rows of panels of queries. No library is needed to read it.

Every query asks for what the variables at the top choose: data source, job (one installation each, so a consumer
group), instance (a worker), and for gauges of partitions the topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worker.adapters.telemetry.catalogue import PREFIX

SELECTED = 'job=~"$job", instance=~"$instance"'
OF_TOPIC = f'{SELECTED}, topic=~"$topic"'
OBJECTIVE_SECONDS = 900  # as deploy/alerts has it; test_dashboards.py compares

Unit = Literal["short", "cpm", "opm", "reqps", "percentunit", "s", "bytes", "none", "dateTimeFromNow", "Bps"]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and the name of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and its answer. `description`: what it means, and what to do about it."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Literal["graph", "stack", "share", "number"] = "graph"
    width: int = 8  # of 24
    warn_above: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `uid` stays for ever: links and bookmarks name it."""

    uid: str
    title: str
    description: str
    since: str
    rows: tuple[Row, ...]


def selector(metric: str, more: str = "", *, chosen: str = SELECTED) -> str:
    """The series of one metric that the variables choose; `more` are further matchers."""
    return f"{PREFIX}{metric}{{{', '.join(filter(None, (chosen, more)))}}}"


def rate(metric: str, by: str = "", more: str = "") -> str:
    """A counter's growth in a second, summed over workers, by these labels."""
    return f"{_sum(by)} (rate({selector(metric + '_total', more)}[$__rate_interval]))"


def per_minute(metric: str, by: str = "", more: str = "") -> str:
    """The same in a minute."""
    return f"60 * {rate(metric, by, more)}"


def seen(expr: str) -> str:
    """Only the series that move: counters begin at 0 with every label that they may ever have."""
    return f"{expr} > 0"


def increase(metric: str, by: str = "", more: str = "") -> str:
    """A counter's growth in the time that the dashboard shows."""
    return f"{_sum(by)} (increase({selector(metric + '_total', more)}[$__range]))"


def share(part: str, whole: str) -> str:
    """One as a share of the other, 0-1, also where there is no such part; nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def mix(metric: str, by: str, more: str = "", *, within: str = "", only: str = "") -> str:
    """Each label value's share of a counter's growth, 0-1: of all, or within each value of another label.

    `only` are matchers of what is shown; the whole is without them.
    """
    part = rate(metric, ", ".join(filter(None, (within, by))), ", ".join(filter(None, (more, only))))
    return f"{part} / on ({within}) group_left () ({rate(metric, within, more)} > 0)"


def quantile(which: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram over all workers."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({which}, sum by ({labels}) (rate({selector(metric + '_bucket')}[$__rate_interval])))"


def quantile_of_all(which: float, metric: str) -> str:
    """A quantile of all that was measured in the time that the dashboard shows."""
    return f"histogram_quantile({which}, sum by (le) (increase({selector(metric + '_bucket')}[$__range])))"


def quantiles(metric: str, *which: float) -> tuple[Query, ...]:
    """Several of them, each named by its per cent."""
    return tuple(Query(quantile(each, metric), f"{each:.0%}") for each in which)


def total(metric: str, by: str = "", *, chosen: str = OF_TOPIC) -> str:
    """A gauge summed over what is chosen."""
    return f"{_sum(by)} ({selector(metric, chosen=chosen)})"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
