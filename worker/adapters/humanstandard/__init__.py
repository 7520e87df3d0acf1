"""The analysis API, both generations: `client` and `jobs` ask, `outcomes` and `limits` read, `transport` carries."""

from worker.adapters.humanstandard.client import HumanStandard
from worker.adapters.humanstandard.jobs import HumanStandardJobs
from worker.adapters.humanstandard.transport import AiohttpTransport

__all__ = ["AiohttpTransport", "HumanStandard", "HumanStandardJobs"]
