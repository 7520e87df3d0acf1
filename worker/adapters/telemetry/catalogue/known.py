"""Label values that are known before anything happens: their series begin at 0.

Prometheus sees no increase in a series that appears with its first event, so an alert would miss exactly that one.
Left out are labels that only the settings bound (topics), and histograms.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, get_args

from worker.adapters.telemetry.catalogue import api, jobs, kafka, tracks
from worker.domain.analysis import AnalysisStatus, Tier, TierValue
from worker.domain.submission import ReadError
from worker.flow.faults import FAULTS
from worker.flow.mode import Mode
from worker.pipeline import facts as f

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from worker.adapters.telemetry.catalogue.metric import Metric

_FAULTS = tuple(kind.value for kind in FAULTS)
HOLDING = tuple(kind.value for kind, treatment in FAULTS.items() if treatment.holds)
_BILLED = tuple(kind.value for kind, treatment in FAULTS.items() if treatment.may_be_billed)
_JOB_OUTCOMES = get_args(f.JobOutcome)
_LANE_CAUSES = ("moved", "fenced", "stopped")
_SUCCESSES: Mapping[f.Operation, tuple[str, ...]] = {
    "submit": ("finished", "accepted"),
    "poll": ("finished", "running"),
    "create_job": ("accepted",),
    "ask_job": ("answered",),
    "read_results": ("answered",),
}
_ONE_LABEL: tuple[tuple[Metric, tuple[str, ...]], ...] = (
    (tracks.ANALYSES, tuple(AnalysisStatus)),
    (tracks.DEAD_LETTERS, tuple(ReadError)),
    (api.QUOTA_SECONDS, get_args(f.Operation)),
    (api.RETRIES, _FAULTS),
    (api.BOUGHT, tuple(Mode)),
    (api.BOUGHT_AGAIN, (*_BILLED, *(f"job_{outcome}" for outcome in _JOB_OUTCOMES if outcome != "complete"))),
    (api.HOLDS, HOLDING),
    (api.HELD_SECONDS, HOLDING),
    (api.OUTAGES, tuple(kind for kind in _FAULTS if kind not in HOLDING)),
    (api.OUTAGE_SECONDS, tuple(kind for kind in _FAULTS if kind not in HOLDING)),
    (jobs.JOBS_ENDED, _JOB_OUTCOMES),
    (jobs.JOB_TRACKS_LEFT, _JOB_OUTCOMES),
    (jobs.MODE_CHANGES, tuple(Mode)),
    (jobs.WEBHOOKS, get_args(f.WebhookOutcome)),
    (kafka.COMMITS, ("committed", "failed", "fenced")),
    (kafka.LANES_ASSIGNED, ("opened", "kept", "lost")),
    (kafka.LANES_SEALED, _LANE_CAUSES),
    (kafka.CALLS_DROPPED, _LANE_CAUSES),
)


def known(
    policies: Iterable[str] = (), outcomes: Iterable[tuple[str, ...]] = ()
) -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Every series that begins at 0: its metric, its label values in the order of the metric's labels.

    `policies` are the names of those that are loaded, `outcomes` the labels of what they may decide.
    """
    yield from ((tracks.DECISIONS, labels) for labels in outcomes)
    for operation, success in _SUCCESSES.items():
        yield from ((api.CALLS, (operation, outcome)) for outcome in (*success, *_FAULTS))
    for metric, values in _ONE_LABEL:
        yield from ((metric, (value,)) for value in values)
    for tier, value, policy in product(Tier, TierValue, policies):
        yield tracks.TIER_OUTCOMES, (tier.value, value.value, policy)
    for source, outcome in product(("page", "webhook"), ("decided", "late", "incomplete", "foreign", "unreadable")):
        yield jobs.JOB_RESULTS, (source, outcome)
