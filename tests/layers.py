"""Settings laid over a recipe."""

from __future__ import annotations

from typing import Any

from ctckit.config import resolve
from ctckit_hierarchical.fixed import RECIPE


def config(*layers: dict[str, Any]) -> Any:
    return resolve(RECIPE, [(f"layer {n}", layer) for n, layer in enumerate(layers)])
