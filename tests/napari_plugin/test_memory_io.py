"""Results in memory: ready at once, filled tile by tile."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

pytest.importorskip("napari", reason="napari is not installed")


def test_a_large_result_is_ready_at_once() -> None:
    """The window's thread makes it: no page of it may be touched before a tile comes."""
    from swin2sr_ops_napari.memory_io import Pyramid

    process = psutil.Process()
    before = process.memory_info().rss
    target = Pyramid((12_000, 16_000), "YX", "uint16")
    assert process.memory_info().rss - before < 50e6  # of 512 MB
    assert not target.levels[0][::1000, ::1000].any()
    target.put((slice(0, 4), slice(4, 8)), np.full((4, 4), 8, "uint16"))
    assert target.levels[0][2, 5] == 8
    assert target.levels[1][1, 3] == 8


def test_a_map_is_empty_where_nothing_came() -> None:
    from swin2sr_ops_napari.memory_io import Pyramid

    target = Pyramid((30, 20), "YX", "float32", empty=np.nan)
    assert np.isnan(target.levels[0]).all()
