"""What operators see: metrics, log lines and, where they are wanted, spans; built from the settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import disable_created_metrics

from worker import __version__
from worker.adapters.telemetry import Infos, Telemetry
from worker.otlp_checks import mistakes
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.adapters.telemetry.traces import Traces
    from worker.domain.decider import Decider
    from worker.pipeline.statuses import WorkerStatus
    from worker.settings import Settings


def traces_of(settings: Settings) -> Traces | None:
    """Spans of OpenTelemetry, which is an extra: nothing of it is imported where nobody wants them.

    Raises SettingsError for what the SDK could not use of its own variables, or would write down with a secret in it.
    """
    require_tracing(settings)
    if not settings.tracing:
        return None
    try:
        from worker.adapters.telemetry.traces import Traces, provider  # noqa: PLC0415 - see above

        made = provider(__version__, settings.kafka_group_instance_id)
    except (ImportError, RuntimeError, ValueError) as fault:  # the SDK's, that name the variable
        raise SettingsError((f"TRACING: OpenTelemetry's variables: {fault}",)) from fault
    return Traces(made, settings.kafka_group_id)


def require_tracing(settings: Settings) -> None:
    """Raise SettingsError where spans are wanted and OpenTelemetry's own variables cannot be used."""
    if settings.tracing and (found := mistakes(os.environ)):
        raise SettingsError(found)


def telemetry_of(
    settings: Settings, status: Callable[[], WorkerStatus], decider: Decider, traces: Traces | None
) -> Telemetry:
    """Where every fact goes. Process-wide: no series that only says when another one began."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library's
    return Telemetry(status, _infos_of(decider), settings.log_level, settings.log_format, traces=traces)


def _infos_of(decider: Decider) -> Infos:
    names = sorted(decider.policies.items())
    policies = tuple((name, each.digest, str(name == decider.default).lower()) for name, each in names)
    return Infos(__version__, policies, tuple(decider.outcomes()))
