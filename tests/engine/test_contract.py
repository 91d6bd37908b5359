"""Every engine is held to the same contract; a new one subclasses `EngineContract`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import swin2sr_ops
from swin2sr_ops.engine.select import ENGINES
from swin2sr_ops.spec import ModelSpec
from tests.conftest import NATIVE

#: Of the range 0..1: largest difference to torch in float64. Sums of float32 in another order differ by about 1e-6.
BOUND = 2e-5


class EngineContract:
    """Subclass it and name the engine. It must be able to run on this machine's CPU."""

    engine: str

    def restored(self, model: ModelSpec, image: np.ndarray, **options: Any) -> np.ndarray:
        """Restore ``image`` with the engine, or as ``options`` say."""
        given: dict[str, Any] = {"engine": self.engine, "device": "cpu", "precision": "float32"} | options
        found = swin2sr_ops.restore(image, model=model, range=(0, 1), **given).compute()
        return np.asarray(found)

    @pytest.fixture
    def image(self, rng: np.random.Generator) -> np.ndarray:
        """Return sides that are not multiples of a window."""
        return rng.random((75, 91), np.float32)

    @pytest.mark.parametrize("tile", [16, 40, (24, 64)])
    def test_tiles_equal_the_whole_image(self, gray_model: ModelSpec, image: np.ndarray, tile: Any) -> None:
        whole = self.restored(gray_model, image, tile=128)
        np.testing.assert_array_equal(self.restored(gray_model, image, tile=tile), whole)

    def test_colours(self, rgb_model: ModelSpec, rng: np.random.Generator) -> None:
        colours = rng.random((41, 52, 3), np.float32)
        found = self.restored(rgb_model, colours, axes="YXC", tile=24)
        np.testing.assert_array_equal(found, self.restored(rgb_model, colours, axes="YXC", tile=128))

    def test_it_agrees_with_torch_in_float64(self, gray_model: ModelSpec, image: np.ndarray) -> None:
        exact = self.restored(gray_model, image, engine="torch", precision="float64")
        np.testing.assert_allclose(self.restored(gray_model, image), exact, rtol=0, atol=BOUND)

    def test_threads_do_not_matter(self, gray_model: ModelSpec, image: np.ndarray) -> None:
        one = self.restored(gray_model, image)
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        try:
            np.testing.assert_array_equal(self.restored(gray_model, image), one)
        finally:
            torch.set_num_threads(before)

    def test_holes_do_not_spread(self, gray_model: ModelSpec, image: np.ndarray) -> None:
        image[10:14, 20:30] = np.nan
        found = self.restored(gray_model, image, tile=40)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(image).repeat(2, 0).repeat(2, 1))


class TestTorch(EngineContract):
    engine = "torch"


@NATIVE
class TestNative(EngineContract):
    engine = "native"


class TestOpenVino(EngineContract):
    engine = "openvino"

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("openvino", reason="the engine is a package of its own")


def test_every_engine_of_a_cpu_is_here() -> None:
    """Triton's kernels run on a GPU only; ``triton/test_steps.py`` compares them in Triton's interpreter."""
    held = {contract.engine for contract in EngineContract.__subclasses__()}
    assert {*ENGINES} - {"auto", "triton"} == held
