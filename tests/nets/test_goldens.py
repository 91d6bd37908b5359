"""A released checkpoint gives its published outputs and figures.

The weights and images are not part of the project (``../shared``); without them this is skipped.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.weights.loader import load_network, resolve_spec

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "swin2sr-lightweight-x2-64"
GOLDENS = SHARED / "goldens"
SET5 = SHARED / "data" / "eval" / "academic" / "Set5"

pytestmark = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"released weights are not at hand ({WEIGHTS})")

#: PSNR on Y of each image, as the official network, padding and metric give it.
SET5_PSNR = {"baby": 38.9557, "bird": 43.3231, "butterfly": 35.7618, "head": 36.0934, "woman": 36.6979}


@cache
def _network() -> SwinNet:
    return load_network(resolve_spec(WEIGHTS))


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def _tensor(image: NDArray[np.uint8], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).to(dtype) / 255


def _levels(output: Tensor) -> NDArray[np.float64]:
    """0..255, not rounded, ``(H, W, 3)``."""
    return (output.double().clamp(0, 1) * 255).permute(1, 2, 0).numpy()


# --- outputs of the regression suite of spandrel -------------------------------------------------


def _whole(net: SwinNet, image: Tensor) -> Tensor:
    """The engine with the image as one tile: what users get."""
    height, width = image.shape[-2:]
    (tile,) = TilePlan(net.spec, height, width, (height, width))
    return TileEngine(net).run(image[:, tile.y.padding][:, :, tile.x.padding], tile)["image"]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_no_value_differs_from_the_golden_output(size: int) -> None:
    """In float64, no 8-bit value differs on any machine.

    In float32 a result may lie on the other side of a rounding boundary than the exact one (pixel
    (49, 35) of the 32 px image is 109.49997): nothing else may differ.
    """
    source = _read(GOLDENS / f"inputs__{size}x{size}.png")
    golden = _read(GOLDENS / f"outputs__{size}x{size}__Swin2SR_Lightweight_X2_64.png")
    double = load_network(_network().spec).double()
    exact = _levels(_whole(double, _tensor(source, torch.float64)))
    np.testing.assert_array_equal(exact.round(), golden)
    single = _tensor(source)
    with torch.inference_mode():
        outputs = {"engine": _whole(_network(), single), "plain": _network()(single[None])[0]}
    near_boundary = np.abs(exact % 1 - 0.5) < 1e-3
    for way, output in outputs.items():
        differs = _levels(output).round() != golden
        assert not (differs & ~near_boundary).any(), way
        assert differs.sum() <= 2, way


# --- Set5, as the official script measures it ----------------------------------------------------


def _official_padding(image: Tensor, window: int) -> Tensor:
    """Mirrored, edge repeated, to the next multiple: always 1 to ``window`` pixels."""
    height, width = image.shape[-2:]
    image = torch.cat([image, image.flip(-2)], -2)[..., : (height // window + 1) * window, :]
    return torch.cat([image, image.flip(-1)], -1)[..., : (width // window + 1) * window]


def _luma(image: NDArray[np.uint8], border: int) -> NDArray[np.float64]:
    """Y of BT.601, not rounded, without ``border`` pixels."""
    rgb = image[border:-border, border:-border] / 255.0
    return rgb @ np.array([65.481, 128.553, 24.966]) + 16.0


def _psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(20 * np.log10(255 / np.sqrt(np.mean((a - b) ** 2))))


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """11 x 11 Gaussian of sigma 1.5, where it fits wholly."""
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        for axis in (0, 1):
            windows = np.lib.stride_tricks.sliding_window_view(x, 11, axis)
            x = windows @ kernel
        return x

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


@pytest.mark.skipif(not SET5.is_dir(), reason=f"Set5 is not at hand ({SET5})")
def test_set5_has_the_published_quality() -> None:
    """Published: 38.17 dB / 0.9613; the official code gives 38.1664."""
    net = _network()
    psnr, ssim = {}, []
    for path in sorted((SET5 / "HR").glob("*.png")):
        small = _read(SET5 / "LR_bicubic" / "X2" / f"{path.stem}x2.png")
        height, width = small.shape[:2]
        with torch.inference_mode():
            output = net(_official_padding(_tensor(small)[None], net.spec.window))[0]
        restored = _levels(output[:, : height * 2, : width * 2]).round().astype(np.uint8)
        truth = _read(path)[: height * 2, : width * 2]
        a, b = _luma(restored, 2), _luma(truth, 2)
        psnr[path.stem] = _psnr(a, b)
        ssim.append(_ssim(a, b))
    assert psnr == pytest.approx(SET5_PSNR, abs=2e-4)
    assert np.mean(list(psnr.values())) == pytest.approx(38.1664, abs=1e-4)
    assert np.mean(ssim) == pytest.approx(0.9613, abs=5e-5)
