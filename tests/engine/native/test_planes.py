"""Where numbers lie in memory."""

from __future__ import annotations

import pytest

from swin2sr_ops.engine.native.engine import NativeEngine
from swin2sr_ops.engine.native.planes import address, aligned
from swin2sr_ops.weights.catalogue import find
from swin2sr_ops.weights.loader import load_parameters
from tests.conftest import NATIVE


@pytest.mark.parametrize("shape", [(1,), (24_000,), (7, 3, 5), (300, 300)])
def test_aligned_begins_with_a_cache_line(shape: tuple[int, ...]) -> None:
    arrays = [aligned(*shape) for _ in range(5)]
    assert all(array.shape == shape for array in arrays)
    assert all(array.flags["C_CONTIGUOUS"] for array in arrays)
    assert {address(array) % 64 for array in arrays} == {0}


@NATIVE
def test_vectors_of_a_network_do_not_straddle_lines() -> None:
    """NumPy's own large arrays begin 16 bytes behind one: that cost the lightweight network 3 % of its time."""
    spec = find("nano-x2-gray")
    network = NativeEngine(spec, load_parameters(spec)).network
    with network.scratch.borrowed() as one, network.scratch.borrowed() as other:
        assert {address(one) % 64, address(other) % 64} == {0}
    kept = [values for values in network._weights._kept if values.dtype.name == "float32"]
    assert {address(values) % 64 for values in kept} == {0}
