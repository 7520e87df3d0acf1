"""The simulated HumanStandard API: both generations, a credit ledger, and faults that can be switched on.

Start reading at `server.py`; `analyses.py` decides what a caller is told, `scenarios.py` what is found in a track.
An address that contains `sandbox=NAME` (a name of `scenarios.SCENARIOS`) gets that finding, any other one gets
its finding from the seeded catalogue.
"""

from worker.sandbox.api.config import SimulationConfig
from worker.sandbox.api.faults import FaultSwitches, Trouble
from worker.sandbox.api.ledger import Ledger
from worker.sandbox.api.server import SimulatedApi

__all__ = ["FaultSwitches", "Ledger", "SimulatedApi", "SimulationConfig", "Trouble"]
