"""Fixtures that tests of runs share."""

from __future__ import annotations

from typing import Any

import pytest

from swin2sr_ops.run.pipeline import TileWork


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record every piece that the network computes."""
    found: list[str] = []
    compute = TileWork.compute

    def recording(work: TileWork, piece: Any, block: Any) -> Any:
        found.append(f"{piece.write}")
        return compute(work, piece, block)

    monkeypatch.setattr(TileWork, "compute", recording)
    return found
