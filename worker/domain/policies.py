"""The built-in policies: TOML files of this package, in the form that own policies have."""

from __future__ import annotations

from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from worker.domain.policy_file import BUILT_IN_NAMES, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.domain.policy import Policy

DEFAULT = BUILT_IN_NAMES[0]


def _built_in(name: str) -> Policy:
    text = files("worker.domain").joinpath("builtin", f"{name}.toml").read_text(encoding="utf-8")
    return parse(text, source=f"{name}.toml")


BUILT_IN: Mapping[str, Policy] = MappingProxyType({name: _built_in(name) for name in BUILT_IN_NAMES})
