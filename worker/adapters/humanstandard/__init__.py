"""The analysis API, both generations: `client` asks, `outcomes` and `limits` read the answer, `transport` carries."""

from worker.adapters.humanstandard.client import HumanStandard
from worker.adapters.humanstandard.transport import AiohttpTransport

__all__ = ["AiohttpTransport", "HumanStandard"]
