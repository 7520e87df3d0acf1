"""Facts to Prometheus metrics, in a registry of their own; gauges are read from the status at the scrape."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from worker.adapters.telemetry import catalogue as c
from worker.adapters.telemetry.catalogue import api, jobs, kafka, tracks
from worker.adapters.telemetry.catalogue import worker_gauges as whole
from worker.adapters.telemetry.catalogue.known import HOLDING, known
from worker.flow.mode import Mode
from worker.pipeline import facts as f
from worker.pipeline.statuses import PausedBy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.metrics_core import Metric as Family

    from worker.domain.trace import TraceContext
    from worker.pipeline.statuses import WorkerStatus

STATES = ("starting", "running", "draining", "stopped")
BREAKER_STATES = ("closed", "open", "half_open")
BOUGHT_BY = ("finished", "accepted")  # outcomes of a submission


@dataclass(frozen=True, slots=True)
class Infos:
    """What does not change while the process runs. `policies`: name, digest, and "true" for the default's.

    `outcomes`: topic, decision, reason and policy of all that may be decided.
    """

    version: str
    policies: tuple[tuple[str, str, str], ...] = ()
    outcomes: tuple[tuple[str, str, str | None, str], ...] = ()


class Children(dict[tuple[str, ...], Any]):
    """The children of one family by their label values: `labels()` is paid for once each."""

    def __init__(self, family: Counter | Histogram) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        child = self[labels] = self._family.labels(*labels) if labels else self._family
        return child


class Metrics:
    """Every counter and histogram of the catalogue, fed by facts; times with the trace that somebody keeps of them."""

    def __init__(self, status: Callable[[], WorkerStatus], infos: Infos, wall: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._wall = wall
        self._of = {metric.name: Children(_family(metric, self.registry)) for metric in c.FED_BY_FACTS}
        outcomes = [(topic, decision, reason or "none", policy) for topic, decision, reason, policy in infos.outcomes]
        for metric, labels in known((name for name, _, _ in infos.policies), outcomes):
            self._count(metric, *labels, by=0)
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            f.RecordsReceived: self._records_received,
            f.CallFinished: self._call_finished,
            f.QuotaWaited: self._quota_waited,
            f.RetryScheduled: self._retry_scheduled,
            f.BoughtAgain: self._bought_again,
            f.JobGathered: self._job_gathered,
            f.JobAccepted: self._job_accepted,
            f.JobEnded: self._job_ended,
            f.JobResult: self._job_result,
            f.ModeChanged: self._mode_changed,
            f.TrackDecided: self._track_decided,
            f.DeadLettered: self._dead_lettered,
            f.CommitFinished: self._commit_finished,
            f.TracksCommitted: self._tracks_committed,
            f.RebalanceFinished: self._rebalance_finished,
            f.LaneSealed: self._lane_sealed,
            f.AdmissionHeld: self._admission_held,
            f.AdmissionResumed: self._admission_resumed,
            f.OutageBegan: self._outage_began,
            f.OutageEnded: self._outage_ended,
            f.WebhookReceived: self._webhook_received,
        }
        self.registry.register(StatusCollector(status, infos))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def __call__(self, fact: f.Fact) -> None:
        """Count one fact."""
        if handler := self._handlers.get(type(fact)):
            handler(fact)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Body and content type, in the format that the scraper's Accept header asks for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def _count(self, metric: c.Metric, *labels: str, by: float = 1) -> None:
        self._of[metric.name][labels].inc(by)

    def _measure(self, metric: c.Metric, value: float, *labels: str, trace: TraceContext | None = None) -> None:
        exemplar = {"trace_id": trace.trace_id} if trace is not None and trace.sampled else None
        self._of[metric.name][labels].observe(value, exemplar)

    def _records_received(self, fact: f.RecordsReceived) -> None:
        self._count(tracks.RECORDS, by=fact.records)
        self._count(tracks.RECEIVED_BYTES, by=fact.size_bytes)

    def _call_finished(self, fact: f.CallFinished) -> None:
        self._count(api.CALLS, fact.operation, fact.outcome)
        self._measure(api.CALL_SECONDS, fact.seconds, fact.operation, trace=fact.trace)
        if fact.operation == "submit" and fact.outcome in BOUGHT_BY:
            self._count(api.BOUGHT, Mode.DIRECT.value)

    def _quota_waited(self, fact: f.QuotaWaited) -> None:
        self._count(api.QUOTA_SECONDS, fact.operation, by=fact.seconds)

    def _retry_scheduled(self, fact: f.RetryScheduled) -> None:
        self._count(api.RETRIES, fact.kind)

    def _bought_again(self, fact: f.BoughtAgain) -> None:
        self._count(api.BOUGHT_AGAIN, fact.cause, by=fact.tracks)

    def _job_gathered(self, fact: f.JobGathered) -> None:
        self._measure(jobs.JOB_TRACKS, fact.tracks)

    def _job_accepted(self, fact: f.JobAccepted) -> None:
        self._count(jobs.JOBS_ACCEPTED)
        self._count(api.BOUGHT, Mode.BULK.value, by=fact.tracks)

    def _job_ended(self, fact: f.JobEnded) -> None:
        self._count(jobs.JOBS_ENDED, fact.outcome)
        self._measure(jobs.JOB_SECONDS, fact.seconds, fact.outcome, trace=fact.trace)
        self._count(jobs.JOB_TRACKS_LEFT, fact.outcome, by=fact.tracks_left)

    def _job_result(self, fact: f.JobResult) -> None:
        self._count(jobs.JOB_RESULTS, fact.source, fact.outcome)

    def _mode_changed(self, fact: f.ModeChanged) -> None:
        self._count(jobs.MODE_CHANGES, fact.mode)

    def _track_decided(self, fact: f.TrackDecided) -> None:
        self._count(tracks.DECISIONS, fact.output_topic, fact.decision, fact.reason or "none", fact.policy)
        self._count(tracks.ANALYSES, fact.status)
        for tier, value in fact.tiers.items():
            self._count(tracks.TIER_OUTCOMES, tier, value, fact.policy)
        self._measure(tracks.ATTEMPTS, fact.attempts)
        self._measure(tracks.ANALYSIS_SECONDS, fact.analysis_seconds, trace=fact.trace)
        self._measure(tracks.QUEUED_SECONDS, fact.queued_seconds, trace=fact.trace)

    def _dead_lettered(self, fact: f.DeadLettered) -> None:
        self._count(tracks.DEAD_LETTERS, fact.code)

    def _commit_finished(self, fact: f.CommitFinished) -> None:
        self._count(kafka.COMMITS, fact.outcome)
        self._measure(kafka.COMMIT_SECONDS, fact.seconds, fact.outcome)
        if fact.outcome == "committed":
            self._count(kafka.PUBLISHED, by=fact.messages)

    def _tracks_committed(self, fact: f.TracksCommitted) -> None:
        now = self._wall()
        for written_at_ms, trace in zip(fact.written_at_ms, fact.traces, strict=True):
            self._measure(tracks.AGE_SECONDS, max(0.0, now - written_at_ms / 1000), trace=trace)

    def _rebalance_finished(self, fact: f.RebalanceFinished) -> None:
        self._count(kafka.REBALANCES)
        self._measure(kafka.REBALANCE_SECONDS, fact.seconds)
        for fate, lanes in (("opened", fact.opened), ("kept", fact.kept), ("lost", fact.lost)):
            self._count(kafka.LANES_ASSIGNED, fate, by=lanes)

    def _lane_sealed(self, fact: f.LaneSealed) -> None:
        self._count(kafka.LANES_SEALED, fact.cause)
        self._count(kafka.CALLS_DROPPED, fact.cause, by=fact.dropped)

    def _admission_held(self, fact: f.AdmissionHeld) -> None:
        self._count(api.HOLDS, fact.reason)

    def _admission_resumed(self, fact: f.AdmissionResumed) -> None:
        self._count(api.HELD_SECONDS, fact.reason, by=fact.seconds)

    def _outage_began(self, fact: f.OutageBegan) -> None:
        self._count(api.OUTAGES, fact.reason)

    def _outage_ended(self, fact: f.OutageEnded) -> None:
        self._count(api.OUTAGE_SECONDS, fact.reason, by=fact.seconds)

    def _webhook_received(self, fact: f.WebhookReceived) -> None:
        self._count(jobs.WEBHOOKS, fact.outcome)


def _family(metric: c.Metric, registry: CollectorRegistry) -> Counter | Histogram:
    name = c.PREFIX + metric.name
    if metric.kind == "counter":
        return Counter(name, metric.meaning, metric.labels, registry=registry)
    return Histogram(name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)


class StatusCollector(Collector):
    """Gauges of the worker and of each partition, as they stand when they are scraped."""

    def __init__(self, status: Callable[[], WorkerStatus], infos: Infos) -> None:
        self._status = status
        self._infos = infos

    def collect(self) -> Iterable[Family]:
        """Read the status once and show all of it."""
        status = self._status()
        yield _gauge(whole.BUILD, [((self._infos.version,), 1)])
        yield _gauge(whole.POLICY, [(labels, 1) for labels in self._infos.policies])
        yield _gauge(whole.STATE, [((state,), state == status.state) for state in STATES])
        yield _gauge(whole.HELD, [((reason,), reason == status.held) for reason in HOLDING])
        yield _gauge(whole.BREAKER, [((state,), state == status.breaker) for state in BREAKER_STATES])
        yield _gauge(whole.PAUSED, _paused(status))
        yield _gauge(whole.IN_FLIGHT, [((), status.in_flight)])
        yield _gauge(whole.LIMIT, [((), status.concurrency_limit)])
        yield _gauge(whole.QUOTA_ALLOWED, [((), status.quota.allowed_per_minute)])
        yield _gauge(whole.QUOTA_WAITING, [((), status.quota.waiting_polls)])
        yield _gauge(whole.QUOTA_REMAINING, [((), status.quota.api_remaining)])
        yield _gauge(whole.RETRY_BUDGET, [((), status.quota.retries_left)])
        yield _gauge(whole.LOOP_AGE, [((), status.fetch_age_seconds)])
        yield _gauge(whole.LOOP_LAG, [((), status.loop_lag_seconds)])
        for field, metric in c.PER_PARTITION.items():
            yield _gauge(metric, [((lane.topic, str(lane.partition)), getattr(lane, field)) for lane in status.lanes])

    def describe(self) -> Iterable[Family]:
        """Names for the registry's check; without it the registry would read the status before there is one."""
        return [_gauge(metric, []) for metric in (*c.WHOLE, *c.PER_PARTITION.values())]


def _paused(status: WorkerStatus) -> list[tuple[tuple[str, ...], float | None]]:
    """Partitions by why they stand still, none of them twice; while the worker drains, they all stand for that."""
    draining = status.state == "draining"
    reasons = ["draining" if draining else lane.paused_by for lane in status.lanes]
    return [((reason,), reasons.count(reason)) for reason in get_args(PausedBy)]


def _gauge(metric: c.Metric, samples: list[tuple[tuple[str, ...], float | None]]) -> Family:
    """One family; a value of None is left out: unknown is not zero."""
    family = GaugeMetricFamily(metric.full_name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, float(value))
    return family
