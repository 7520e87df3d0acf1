"""What the simulated API can find in a track, and which track gets which finding."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

_NAMED = re.compile(r"sandbox[=/:]([a-z-]+)")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One finding. Tiers are (press_safe, human_safe, recall) in generation 1's words; `slowness` scales the time."""

    name: str
    tiers: tuple[str | None, str | None, str | None] = ("human", "human", "human")
    suspicious: bool = False
    ai_probability: float = 0.04
    origin: str | None = "human"
    failed: bool = False
    error: str | None = None
    slowness: float = 1.0
    ends: bool = True
    mock: bool = False


def _table(*scenarios: Scenario) -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in scenarios}


_AI = ("suspicious", "suspicious", "suspicious")
SCENARIOS = _table(
    Scenario("human"),
    Scenario("ai", _AI, suspicious=True, ai_probability=0.97, origin="suno"),
    Scenario("borderline", (None, "human", "suspicious"), ai_probability=0.55, origin="uncertain"),
    Scenario("elevated", ai_probability=0.62, origin="uncertain"),
    Scenario("inconclusive", (None, "human", "human"), ai_probability=0.31, origin="unknown"),
    Scenario("null-tiers", (None, None, None), ai_probability=0.2, origin=None),
    Scenario("unknown-word", ("probably", "probably", "probably"), ai_probability=0.5, origin="unknown"),
    Scenario("failed", failed=True, error="audio_load_failed"),
    Scenario("failed-no-error", failed=True),
    Scenario("slow", slowness=10.0),
    Scenario("stuck", ends=False),
    Scenario("contradiction", ("human", "suspicious", "suspicious"), ai_probability=0.7061, origin="udio"),
    Scenario("generator-human", ai_probability=0.08, origin="suno"),
    Scenario("mock", mock=True),
)

# The free scenarios of `?mock=`: what the caller names comes back, marked.
MOCKS = {
    "human": Scenario("human", mock=True),
    "ai": Scenario("ai", _AI, suspicious=True, ai_probability=0.97, origin="suno", mock=True),
    "suspicious": Scenario("suspicious", _AI, suspicious=True, ai_probability=0.8, origin="udio", mock=True),
    "no_vocal": Scenario("no_vocal", (None, None, None), ai_probability=0.5, origin=None, mock=True),
}


def unit(seed: int, address: str, salt: str) -> float:
    """Draw a number in [0, 1) that depends on nothing but its arguments."""
    return zlib.crc32(f"{seed}:{salt}:{address}".encode("utf-8", "surrogatepass")) / 2**32


def scenario_of(address: str, *, seed: int, catalogue: tuple[tuple[str, int], ...]) -> Scenario:
    """Find the scenario that an address (or file id) names as `sandbox=NAME`, else the seeded catalogue's."""
    named = _NAMED.search(address)
    if named is not None and named[1] in SCENARIOS:
        return SCENARIOS[named[1]]
    left = unit(seed, address, "scenario") * sum(weight for _, weight in catalogue)
    for name, weight in catalogue:
        left -= weight
        if left < 0:
            return SCENARIOS[name]
    return SCENARIOS["human"]
