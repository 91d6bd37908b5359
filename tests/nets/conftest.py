"""Fixtures of the networks' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swin2sr_ops.nets.native import build


@pytest.fixture
def kernels_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test looks for its own compiler, and keeps what it builds to itself."""
    monkeypatch.setenv("SWIN2SR_OPS_CACHE", str(tmp_path / "cache"))
    for found in (build.find_compiler, build.library):
        found.cache_clear()
    yield
    for found in (build.find_compiler, build.library):
        found.cache_clear()
