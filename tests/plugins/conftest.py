"""Fixtures that tests of several hosts share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.plugins.fractal_plates import write_plate


@pytest.fixture(params=["0.4", "0.5"])
def plate(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    return tmp_path / "plate.zarr", write_plate(tmp_path / "plate.zarr", request.param)
