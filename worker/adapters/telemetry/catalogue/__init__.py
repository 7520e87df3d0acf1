"""The metrics: name, kind, labels, meaning, and what to do about them. README's table is made from this.

Base units, counters end in `_total`. Label values come from bounded sets: words of our own enumerations, names of
loaded policies and configured topics, partition numbers. Histograms are classic ones: prometheus-client 0.26.0 reads
native histograms and can print samples of them, but its Histogram makes none.
"""

from __future__ import annotations

from worker.adapters.telemetry.catalogue import api, jobs, kafka, tracks
from worker.adapters.telemetry.catalogue.metric import PREFIX, Metric
from worker.adapters.telemetry.catalogue.partition_gauges import PER_PARTITION
from worker.adapters.telemetry.catalogue.worker_gauges import WHOLE

__all__ = ["CATALOGUE", "FED_BY_FACTS", "PER_PARTITION", "PREFIX", "WHOLE", "Metric"]

FED_BY_FACTS: tuple[Metric, ...] = (*tracks.ALL, *api.ALL, *jobs.ALL, *kafka.ALL)
CATALOGUE: tuple[Metric, ...] = (*FED_BY_FACTS, *WHOLE, *PER_PARTITION.values())
