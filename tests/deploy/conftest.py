"""The chart, rendered once for each case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deploy import samples
from tests.deploy.helm import Manifest, render

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.copied(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="session")
def rendered(chart: Path) -> dict[str, list[Manifest]]:
    """Manifests by case."""
    return {case: render(chart, samples.values(case)) for case in samples.CASES}
