"""track-intake: one decision per submitted track, exactly once. The map.

domain/     pure: what a submitted track, an analysis, a policy and a decision are; how they are read and written.
flow/       pure: what may start, must wait, may be published and may be committed.
pipeline/   the shell: a lane for each assigned partition, and the loop. Declares the ports it needs (ports.py)
            and the facts it tells (facts.py); imports no adapter.
adapters/   each knows one library and no other adapter: humanstandard (httpx), kafka (aiokafka),
            telemetry (structlog, prometheus-client), web (aiohttp).
sandbox/    a simulated API, an embedded broker and sample traffic, for newcomers and tests.
settings.py environment to frozen settings. app*.py build and join everything. cli.py: commands, exit codes.

Imports point one way: domain <- flow <- pipeline <- app -> adapters; tests/test_layers.py holds that.
Start reading at pipeline/ports.py (what comes in and goes out), then flow/ledger.py (what is promised),
pipeline/lane.py (how it is kept) and app.py (how it is put together).
"""

from __future__ import annotations

__version__ = "0.1.0"
