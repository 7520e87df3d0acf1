"""One metric of the catalogue, and the three kinds of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "track_intake_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: facts add to counters and histograms, a scrape reads gauges from the status."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    action: str
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The family's name as Prometheus shows it."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def counter(name: str, labels: tuple[str, ...], meaning: str, action: str) -> Metric:
    """One that only grows."""
    return Metric(name, "counter", labels, meaning, action)


def histogram(name: str, labels: tuple[str, ...], buckets: tuple[float, ...], meaning: str, action: str) -> Metric:
    """One that sorts what is observed into buckets, by their upper bounds."""
    return Metric(name, "histogram", labels, meaning, action, buckets)


def gauge(name: str, labels: tuple[str, ...], meaning: str, action: str) -> Metric:
    """One that a scrape reads."""
    return Metric(name, "gauge", labels, meaning, action)
