"""Training images: stacks, archives, pairs; and errors about those that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import swin2sr_ops
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.training import images, train
from swin2sr_ops.training.data import PatchSampler
from swin2sr_ops.training.images import find_images, load_images, load_pairs
from swin2sr_ops.training.recipe import Recipe


@pytest.fixture
def stack(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(100, 4000, (3, 2, 50, 60)).astype("u2")


def test_a_tiff_stack_gives_its_planes(tmp_path: Path, stack: np.ndarray) -> None:
    """All planes are used, each channel from its smallest to its largest value, as in `restore`."""
    stack[:, 1] //= 4
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZCYX"})
    planes = load_images(tmp_path / "a.ome.tif", 1)
    expected = [
        (stack[z, c][None] - stack[:, c].min()) / np.float32(np.ptp(stack[:, c])) for c in range(2) for z in range(3)
    ]
    assert len(planes) == 6
    for plane, wanted in zip(planes, expected, strict=True):
        np.testing.assert_allclose(plane, wanted, atol=1e-6)
    assert load_images(tmp_path / "a.ome.tif", 3) == []


def test_zarr_archives_are_found_and_read(tmp_path: Path, stack: np.ndarray) -> None:
    """An OME-Zarr of `restore_image` and a plain array are found; files inside them do not count as pictures."""
    (tmp_path / "deep").mkdir()
    tifffile.imwrite(tmp_path / "a.tif", stack[0, 0])
    swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "deep" / "a.ome.zarr", model="tiny-x2-gray")
    zarr.save_array(tmp_path / "b.zarr", stack[:, 0])
    (tmp_path / "b.zarr" / "thumbnail.png").write_bytes(b"no picture")
    found = find_images(tmp_path)
    assert [p.name for p in found] == ["a.tif", "b.zarr", "a.ome.zarr"]
    shapes = [[plane.shape for plane in load_images(path, 1)] for path in found]
    assert shapes == [[(1, 50, 60)], [(1, 50, 60)] * 3, [(1, 100, 120)]]


def test_colour_stacks(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (2, 40, 45, 3), dtype="u1")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata={"axes": "ZYXS"})
    colour, gray = load_images(tmp_path / "a.tif", 3), load_images(tmp_path / "a.tif", 1)
    np.testing.assert_allclose(colour[1], pixels[1].transpose(2, 0, 1) / 255, atol=1e-6)
    np.testing.assert_allclose(gray[1][0], pixels[1] @ [0.299, 0.587, 0.114] / 255, atol=3e-3)


def test_large_files_are_sampled(tmp_path: Path, stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spaced planes are used; for a plane that is too large, its middle."""
    tifffile.imwrite(tmp_path / "a.tif", stack[:, 0], photometric="minisblack", metadata={"axes": "ZYX"})
    monkeypatch.setattr(images, "MOST", 2 * 50 * 60)
    assert len(load_images(tmp_path / "a.tif", 1)) == 2
    monkeypatch.setattr(images, "MOST", 30 * 30)
    (middle,) = load_images(tmp_path / "a.tif", 1)
    cut = stack[0, 0, 10:40, 15:45]
    np.testing.assert_allclose(middle[0], (cut - cut.min()) / np.float32(np.ptp(cut)), atol=1e-6)


def test_a_damaged_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(
        FormatError, match=r"a\.zarr cannot be used for training .*remove it from the training images\."
    ):
        load_images(tmp_path / "a.zarr", 1)


@pytest.mark.parametrize("scale", [1, 2])
def test_pairs(tmp_path: Path, recipe: Recipe, rng: np.random.Generator, scale: int) -> None:
    """A patch of the input is at its target's place, turned with it, and both are in the input's range."""
    for name in ("clean", "noisy"):
        (tmp_path / name).mkdir()
    truth = rng.integers(1000, 3000, (60 * scale, 70 * scale)).astype("u2")
    given = truth[::scale, ::scale] * 2 + 7
    tifffile.imwrite(tmp_path / "clean" / "1.tif", truth)
    tifffile.imwrite(tmp_path / "noisy" / "1.tif", given)
    ((x, y),) = load_pairs(tmp_path, 1, scale)
    lo, width = int(given.min()), np.ptp(given)
    np.testing.assert_allclose(x, (given[None] - lo) / np.float32(width), atol=1e-6)
    np.testing.assert_allclose(y, (truth[None].astype("f4") - lo) / width, atol=1e-6)

    model = recipe.model | {"scale": scale, "upsampler": "" if scale == 1 else "pixelshuffledirect"}
    recipe = replace(recipe, model=model, folders={".": 1.0}, paired=True, contrast=0.0, levels=0)
    sampler = PatchSampler(recipe, tmp_path)
    for step in range(6):
        source, target = sampler.batch(step)
        assert source.shape == (2, 1, 16, 16)
        assert target.shape == (2, 1, 16 * scale, 16 * scale)
        # given = 2 truth + 7 at every scale-th pixel; which one of them depends on how the patch is turned.
        stored = target.numpy() * width + lo
        wanted = [2 * stored[..., i::scale, j::scale] + 7 for i in range(scale) for j in range(scale)]
        gap = [np.abs(source.numpy() * width + lo - w).reshape(2, -1).max(1) for w in wanted]
        assert (np.min(gap, 0) < 8).all()  # float16 keeps 11 bits of them


def test_pairs_in_zarr(tmp_path: Path, rng: np.random.Generator) -> None:
    """Archives count as images: stacks of planes, in folders or side by side; their folders are not searched."""
    noisy = rng.integers(0, 4000, (3, 40, 48)).astype("u2")
    names = {"folders": ("clean/a.zarr", "noisy/a.zarr"), "ends": ("a_gt.ome.zarr", "a_noisy.ome.zarr")}
    for layout, (truth, given) in names.items():
        for name, pixels in ((truth, noisy // 2), (given, noisy)):
            (tmp_path / layout / name).parent.mkdir(parents=True, exist_ok=True)
            zarr.save_array(tmp_path / layout / name, pixels)
            (tmp_path / layout / name / "thumbnail.png").write_bytes(b"no picture")
        pairs = load_pairs(tmp_path / layout, 1, 1)
        assert len(pairs) == 3
        lo, width = int(noisy.min()), np.float32(np.ptp(noisy))
        for plane, (x, y) in zip(noisy, pairs, strict=True):
            assert x is not None
            np.testing.assert_allclose(x[0], (plane - np.float32(lo)) / width, atol=1e-6)
            np.testing.assert_allclose(y[0], (plane // 2 - np.float32(lo)) / width, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_large_pairs_are_sampled_alike(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, scale: int
) -> None:
    """The budget of the target decides for both: the same planes, and the same place in them."""
    given = rng.integers(0, 255, (5, 2, 40, 47), dtype="u1")
    truth = given.repeat(scale, -2).repeat(scale, -1)
    for name, pixels, axes in (("clean", truth, "ZCYX"), ("noisy", given.swapaxes(0, 1), "CZYX")):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.ome.tif", pixels, metadata={"axes": axes})
    area = truth[0, 0].size
    for most, count in ((10 * area, 10), (3 * area, 3), (area - 1, 1)):
        monkeypatch.setattr(images, "MOST", most)
        pairs = load_pairs(tmp_path, 1, scale)
        assert len(pairs) == count
        for x, y in pairs:
            assert x is not None
            np.testing.assert_array_equal(x.repeat(scale, 1).repeat(scale, 2), y)
            assert y.size <= most


@pytest.mark.parametrize(
    ("shape", "says"),
    [((50, 60), "does not fit a model of scale 2"), ((2, 100, 120), "1 planes of .* and the target 2 planes of")],
)
def test_pairs_that_do_not_fit(tmp_path: Path, shape: tuple[int, ...], says: str) -> None:
    for name in ("HR", "LR"):
        (tmp_path / name).mkdir()
    tifffile.imwrite(tmp_path / "HR" / "1.tif", np.zeros(shape, "u2"))
    tifffile.imwrite(tmp_path / "LR" / "1.tif", np.zeros((50, 60), "u2"))
    with pytest.raises(RequestError, match=says):
        load_pairs(tmp_path, 1, 2)


def test_pairs_whose_planes_are_channels_in_one_only(tmp_path: Path) -> None:
    for name, axes in (("HR", "ZYX"), ("LR", "CYX")):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "1.ome.tif", np.zeros((5, 50, 60), "u2"), metadata={"axes": axes})
    says = r"5 planes of 50 x 60 px in 5 channel\(s\), and the target 5 planes of 50 x 60 px in 1 channel"
    with pytest.raises(RequestError, match=says):
        load_pairs(tmp_path, 1, 1)
    with pytest.raises(FormatError, match=r"it has 1 channel\(s\), and the model 3"):
        load_pairs(tmp_path, 3, 1)
    with pytest.raises(RequestError, match="Pairs train models of 1 or 3 channels, and this one has 5"):
        load_pairs(tmp_path, 5, 1)


def test_pairs_are_not_degraded(recipe: Recipe) -> None:
    with pytest.raises(RequestError, match=r"pairs have inputs of their own: omit \[degrade\]"):
        replace(recipe, paired=True, degrade={"noise": {"sigma": [0, 9]}})


def test_a_small_picture_is_left_out(tmp_path: Path, recipe: Recipe) -> None:
    Image.fromarray(np.zeros((90, 90), "u1")).save(tmp_path / "large.png")
    Image.fromarray(np.zeros((30, 90), "u1")).save(tmp_path / "small.png")
    assert len(PatchSampler(replace(recipe, folders={".": 1.0}), tmp_path)) == 1


@pytest.mark.parametrize("empty", ["data", "out"])
def test_an_empty_name_is_not_the_working_folder(tmp_path: Path, empty: str) -> None:
    """An unset variable of a shell gives one; a run would begin in the working folder."""
    given: dict[str, Any] = {"data": tmp_path, "out": tmp_path / "run"} | {empty: ""}
    with pytest.raises(RequestError, match=f"{empty} is an empty text"):
        train("finetune", init="nano-x2-gray", **given)
