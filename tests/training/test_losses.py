"""Compare losses with their formulas in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve

from swin2sr_ops.errors import RequestError
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.losses import loss_of
from swin2sr_ops.training.recipe import Recipe


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 24, 20, generator=draw), torch.rand(2, 3, 24, 20, generator=draw)


def loss(outputs: Mapping[str, torch.Tensor], target: torch.Tensor, scale: int = 2, **weights: float) -> float:
    return float(loss_of(outputs, target, weights, scale))


def test_pixel_losses(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    result, target = pair
    gap = (result - target).numpy().astype("f8")
    assert loss({"image": result}, target, l1=1.0) == pytest.approx(np.abs(gap).mean(), rel=1e-5)
    expected = np.sqrt(gap**2 + 1e-6).mean()
    assert loss({"image": result}, target, charbonnier=1.0) == pytest.approx(expected, rel=1e-5)
    assert loss({"image": target}, target, charbonnier=1.0) == pytest.approx(1e-3, rel=1e-4)


def test_psnr_loss(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Each patch counts by itself: the mean of decibels, not the decibels of the mean."""
    result, target = pair
    result = torch.stack([result[0], target[1] + 0.01])  # a bad patch and a good one
    errors = ((result - target).numpy().astype("f8") ** 2).mean((1, 2, 3))
    expected = (10 * np.log10(errors + 1e-5)).mean()
    assert loss({"image": result}, target, psnr=1.0) == pytest.approx(expected, rel=1e-4)
    assert loss({"image": target}, target, psnr=1.0) == pytest.approx(-50)


def test_auxiliary(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """D by Pillow's bicubic reduction, inside the border; and the auxiliary head's own output."""
    result, target = pair

    def reduced(x: torch.Tensor) -> np.ndarray:
        planes = x.reshape(-1, 24, 20).numpy()
        return np.stack([np.asarray(Image.fromarray(p).resize((10, 12), Image.Resampling.BICUBIC)) for p in planes])

    expected = np.abs(reduced(result) - reduced(target)).mean()
    found = loss({"image": result}, target, auxiliary=1.0)
    assert found == pytest.approx(expected, rel=0.02)  # torch renormalises the kernel at the border, as Pillow does
    aux = torch.zeros(2, 3, 16, 16)  # padded by the network: what lies beyond the image does not count
    more = loss({"image": result, "aux": aux}, target, auxiliary=1.0)
    assert more - found == pytest.approx(np.abs(reduced(target)).mean(), rel=0.02)


def test_high_frequency(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """HF(z) = z - z * b, on each image by itself, by SciPy's convolution."""
    result, target = pair
    side = np.exp(-0.5 * (np.arange(-2, 3) / 2.0) ** 2)
    kernel = np.outer(side, side) / side.sum() ** 2

    def high(x: torch.Tensor) -> np.ndarray:
        planes = x.reshape(-1, 24, 20).numpy().astype("f8")
        return np.stack([p - convolve(p, kernel, mode="mirror") for p in planes])

    expected = np.abs(high(result) - high(target)).mean()
    assert loss({"image": result}, target, hf=1.0) == pytest.approx(expected, rel=1e-4)
    shifted = target + 0.3  # brightness is not detail
    assert loss({"image": shifted}, target, hf=1.0) == pytest.approx(0, abs=1e-6)


def test_weights_add_up(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    result, target = pair
    outputs = {"image": result}
    parts = {name: loss(outputs, target, **{name: 1.0}) for name in ("l1", "charbonnier", "auxiliary", "hf")}
    whole = loss(outputs, target, l1=1.0, charbonnier=0.5, auxiliary=0.25, hf=2.0)
    expected = parts["l1"] + 0.5 * parts["charbonnier"] + 0.25 * parts["auxiliary"] + 2 * parts["hf"]
    assert whole == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("table", [{}, {"l2": 1.0}, {"l1": 0.0}, {"l1": -1.0}, "l1"])
def test_losses_that_are_refused(recipe: Recipe, table: object) -> None:
    with pytest.raises(RequestError, match="must be a table of finite weights of l1, charbonnier, psnr, auxiliary, hf"):
        replace(recipe, loss=table)


def test_the_auxiliary_head_learns(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """A network with that head, and all losses: every parameter gets a gradient, the head's own too."""
    model = recipe.model | {"upsampler": "pixelshuffle_aux", "channels": 3, "num_feat": 8}
    weights = {"charbonnier": 1.0, "auxiliary": 0.5, "hf": 0.1}
    recipe = replace(recipe, model=model, folders={"noise": 1.0}, loss=weights)
    trainer = Trainer(recipe, data, tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.run(until=2, log=lambda _: None)
    same = [name for name, value in trainer.net.state_dict().items() if torch.equal(value, before[name])]
    assert not same
