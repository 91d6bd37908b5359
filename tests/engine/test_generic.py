"""Networks of plugins: no seams, no dependence on tiles, and the result of one pass if the reach is known."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from torch import Tensor, nn

import swin2sr_ops
from swin2sr_ops.engine.generic import CellEngine, engine_of
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import ModelError, PlanError, TileError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.plan import Span, TilePlan, pad_index, padded_size
from swin2sr_ops.geometry.steps import cell_side
from swin2sr_ops.geometry.tiles import fit_tile, tile_region
from swin2sr_ops.hooks import dispatch as plugins
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.pixels.nodata_flags import CLEAN, context_flags
from swin2sr_ops.placement import Placement
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import prepare
from swin2sr_ops.spec import ModelSpec, Reach


class Convolutions(nn.Module):
    """``depth`` convolutions with zero padding, then pixels shuffled; with ``step``, some of them at a coarser grid."""

    def __init__(self, channels: int, scale: int, depth: int = 2, step: int = 1) -> None:
        super().__init__()
        wide = 6
        first = nn.Conv2d(channels, wide, 3, padding=1)
        inner = [layer for _ in range(depth) for layer in (nn.Conv2d(wide, wide, 3, padding=1), nn.GELU())]
        coarse = [nn.Conv2d(wide, wide, step, stride=step), *inner, nn.Conv2d(wide, wide * step**2, 1)]
        body = [*coarse, nn.PixelShuffle(step)] if step > 1 else inner
        last = nn.Conv2d(wide, channels * scale**2, 3, padding=1)
        self.all = nn.Sequential(first, *body, last, nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.all(x)


class Brightness(nn.Module):
    """Sees the whole image at once: no halo is enough."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.mean() + 1)


def spec_of(channels: int = 1, scale: int = 2, depth: int = 2, step: int = 1, **changes: Any) -> ModelSpec:
    """Describe `Convolutions`, with its reach counted by hand."""
    halo = 2 + (depth + 1) * step if step > 1 else 2 + depth
    reach = Reach(halo=halo, exact=True, multiple=step, cell=changes.pop("cell", 5 * step))
    values = {"name": f"theirs-{channels}-{scale}-{depth}-{step}", "window": step, "task": "other", "reach": reach}
    return ModelSpec(architecture="theirs", scale=scale, channels=channels, sha256="1", **(values | changes))


def net_of(channels: int = 1, scale: int = 2, depth: int = 2, step: int = 1) -> nn.Module:
    torch.manual_seed(7)
    return Convolutions(channels, scale, depth, step).double().eval().requires_grad_(False)


def picture(channels: int, height: int, width: int) -> Tensor:
    return torch.rand(channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(width))


def in_tiles(engine: CellEngine, image: Tensor, tile: tuple[int, int], halo: Any = "exact") -> Tensor:
    s = engine.spec.scale
    out = torch.full((len(image), image.shape[1] * s, image.shape[2] * s), float("nan"), dtype=image.dtype)
    for t in TilePlan(engine.spec, *image.shape[1:], tile, Placement(halo=halo)):
        region = image[:, slice(*t.y.source), slice(*t.x.source)][:, t.y.padding][:, :, t.x.padding]
        out[:, slice(*t.y.write), slice(*t.x.write)] = engine.run(region, t)["image"]
    return out


def whole(net: nn.Module, image: Tensor, spec: ModelSpec) -> Tensor:
    """Run one pass over the image, padded by reflection to a size that the network accepts."""
    assert spec.reach is not None
    height, width = image.shape[1:]
    rows, columns = (pad_index(0, padded_size(n, spec.reach.multiple), n) for n in (height, width))
    found: Tensor = net(image[:, rows][:, :, columns][None])[0]
    return found[:, : height * spec.scale, : width * spec.scale]


networks = {
    "channels": sampled_from([1, 3]), "scale": sampled_from([1, 2, 3, 4]), "depth": sampled_from([0, 3]),
    "step": sampled_from([1, 2, 3, 5]), "height": integers(1, 47), "width": integers(1, 47),
    "rows": integers(1, 50), "columns": integers(3, 50),
}  # fmt: skip


@settings(max_examples=80)
@given(**networks)
def test_tiles_are_the_whole_image(
    channels: int, scale: int, depth: int, step: int, height: int, width: int, rows: int, columns: int
) -> None:
    """All tilings give the same bits, and the result of one pass over the image."""
    net, spec = net_of(channels, scale, depth, step), spec_of(channels, scale, depth, step)
    engine, image = CellEngine(net, spec), picture(channels, height, width)
    at_once = in_tiles(engine, image, (height, width))
    assert torch.equal(in_tiles(engine, image, (rows, columns)), at_once)
    torch.testing.assert_close(at_once, whole(net, image, spec), rtol=0, atol=1e-12)


def test_the_halo_is_needed() -> None:
    """With a halo of one pixel less, seams appear: the oracle above can fail."""
    net, spec = net_of(), spec_of()
    image, oracle = picture(1, 40, 40), whole(net, picture(1, 40, 40), spec)
    short = replace(spec, reach=replace(spec.reach, halo=spec.reach.halo - 1))
    assert (in_tiles(CellEngine(net, short), image, (40, 40)) - oracle).abs().max() > 1e-6


@settings(max_examples=30)
@given(integers(1, 60), integers(1, 60), integers(1, 70), integers(1, 70))
def test_no_seams_where_nothing_is_exact(height: int, width: int, rows: int, columns: int) -> None:
    """A network sees the entire image: its cells differ from one pass, but not between tilings."""
    spec = spec_of(scale=1, reach=Reach(halo=4, cell=16, multiple=1))
    engine, image = CellEngine(Brightness().double(), spec), picture(1, height, width)
    assert torch.equal(in_tiles(engine, image, (rows, columns)), in_tiles(engine, image, (height, width)))


def test_with_a_shorter_halo(rng: np.random.Generator) -> None:
    spec, net = spec_of(depth=3), net_of(depth=3)
    image = picture(1, 41, 30)
    for halo, exact in ((2, False), (5, True), (9, True)):
        plan = TilePlan(spec, 41, 30, (7, 9), Placement(halo=halo))
        assert (plan.exact, plan.halo_pixels) == (exact, halo)
        engine = CellEngine(net, Restorer(spec, halo=halo).spec)
        found = in_tiles(engine, image, (7, 9), halo)
        assert torch.equal(found, in_tiles(engine, image, (41, 30), halo))
        assert ((found - whole(net, image, spec)).abs().max() < 1e-12) == exact
    with pytest.raises(PlanError, match="halo=0"):
        TilePlan(spec, 41, 30, (7, 9), Placement(halo=0))


def test_several_threads_have_their_own_module() -> None:
    """A module with state is not disturbed by the next cell; weights are shared."""

    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Convolutions(1, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            self.kept = x
            found = self.inner(x)
            assert self.kept is x, "another cell came in between"
            return found

    net, image = Forgetful().eval(), picture(1, 90, 90)
    spec = spec_of(scale=1)
    expected = in_tiles(CellEngine(net, spec), image, (90, 90))
    torch.set_num_threads(4)
    try:
        assert torch.equal(in_tiles(CellEngine(net, spec), image, (90, 90)), expected)
    finally:
        torch.set_num_threads(1)


# --- through the public functions ---------------------------------------------------------------------


class Family:
    """A plugin with `Convolutions` in four sizes."""

    specs = (spec_of(1, 2), spec_of(3, 3, step=3), spec_of(1, 1, step=2), spec_of(3, 4, depth=0))

    @hookimpl
    def swin2sr_ops_model_specs(self) -> tuple[ModelSpec, ...]:
        return self.specs

    @hookimpl
    def swin2sr_ops_build_network(self, spec: ModelSpec) -> nn.Module | None:
        if spec.architecture != "theirs":
            return None
        return net_of(*map(int, spec.name.split("-")[1:])).float()


@pytest.fixture
def family() -> Iterator[Family]:
    found = Family()
    plugins.manager().register(found, "theirs")
    yield found
    plugins.manager().unregister(found)


def expected_of(spec: ModelSpec, image: np.ndarray) -> np.ndarray:
    """``(H, W)`` or ``(H, W, 3)`` floats through the plain network."""
    net = net_of(*map(int, spec.name.split("-")[1:]))
    planes = torch.from_numpy(image.astype("f8")).reshape(*image.shape[:2], -1).permute(2, 0, 1)
    return whole(net, planes, spec).permute(1, 2, 0).reshape(*(n * spec.scale for n in image.shape[:2]), -1).numpy()


@pytest.mark.parametrize("spec", Family.specs, ids=lambda spec: spec.name)
def test_restore_by_name(family: Family, rng: np.random.Generator, spec: ModelSpec) -> None:
    """Listed, loaded, lazily restored in odd chunks: the network's own result in one pass."""
    assert spec in swin2sr_ops.list_models()
    shape = (53, 38) if spec.channels == 1 else (53, 38, 3)
    image = rng.random(shape, "f4")
    lazy = swin2sr_ops.restore(da.from_array(image, chunks=(17, 11, 3)[: image.ndim]), model=spec.name,
                               range=(0, 1), precision="float64", tile=(19, 38))  # fmt: skip
    found = lazy.compute()
    expected = expected_of(spec, image)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-6)
    again = swin2sr_ops.restore(image, model=spec.name, range=(0, 1), precision="float64").compute()
    np.testing.assert_array_equal(found, again)
    net = swin2sr_ops.load_model(spec.name)
    given = torch.from_numpy(image).reshape(53, 38, -1).permute(2, 0, 1)
    torch.testing.assert_close(whole(net, given, spec), whole(net_of(*map(int, spec.name.split("-")[1:])).float(),
                                                              given, spec))  # fmt: skip


def test_lone_channel_through_three(family: Family, rng: np.random.Generator) -> None:
    """A gray image and a colour network: three times the same, and the mean of the answers."""
    spec = Family.specs[3]
    image = rng.random((21, 18), "f4")
    found = swin2sr_ops.restore(image, model=spec.name, range=(0, 1), precision="float64").compute()
    expected = expected_of(spec, np.repeat(image[..., None], 3, 2)).mean(-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_map_overlap(family: Family, rng: np.random.Generator) -> None:
    spec = replace(Family.specs[0], reach=replace(Family.specs[0].reach, cell=16))
    image = rng.random((160, 130), "f4")
    restorer = Restorer(spec)
    array = da.from_array(image, chunks=(80, 65))
    found = da.map_overlap(restorer, array, **restorer.map_overlap_options(array, range=(0, 1)))
    np.testing.assert_array_equal(found.compute(), swin2sr_ops.restore(image, model=spec, range=(0, 1)).compute())


def test_a_file_from_end_to_end(family: Family, rng: np.random.Generator, tmp_path: Path) -> None:
    """Out of core, with holes and context flags; left alone the second time, other cells are another run."""
    image = rng.random((60, 70), "f4")
    image[5:9, 30:33] = np.nan
    source, target, spec = tmp_path / "a.zarr", tmp_path / "b.zarr", Family.specs[0]
    da.from_array(image, chunks=(32, 32)).to_zarr(str(source))
    request = {"model": spec.name, "range": (0, 1), "context": True, "chunks": 40}
    report = swin2sr_ops.restore_image(source, target, tile=20, **request)
    assert report.settings["exact"] is True
    assert swin2sr_ops.restore_image(source, target, tile=40, **request).state == "already"
    found = swin2sr_ops.open_source(target).read((slice(0, 120), slice(0, 140)))
    np.testing.assert_array_equal(found, swin2sr_ops.restore(image, model=spec, range=(0, 1)).compute())

    def key(model: ModelSpec, tile: int, halo: Any = "exact") -> str:
        return run_key(prepare(source, RestoreRequest(model=model, tile=tile, halo=halo, chunks=40)), {}).fingerprint

    assert key(spec, 20) == key(spec, 40)
    assert key(spec, 20, 2) == key(spec, 40, 2)
    assert key(replace(spec, reach=replace(spec.reach, pixel_bytes=9)), 20) == key(spec, 20)
    assert len({key(spec, 20), key(spec, 20, 2), key(replace(spec, reach=replace(spec.reach, cell=10)), 20)}) == 3


def test_a_batch_and_an_ensemble(family: Family, rng: np.random.Generator, tmp_path: Path) -> None:
    """Many files, estimated and restored; and the eight orientations, by any tiles alike."""
    spec, images = Family.specs[0], {name: rng.random((40, 30), "f4") for name in "ab"}
    for name, image in images.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", image)
    report = swin2sr_ops.restore_batch(tmp_path / "in", tmp_path / "out", model=spec.name, range=(0, 1))
    assert report.ok
    for name, image in images.items():
        expected = swin2sr_ops.restore(image, model=spec.name, range=(0, 1)).compute()
        (output,) = (tmp_path / "out").glob(f"{name}*.tif")
        np.testing.assert_array_equal(tifffile.imread(output), expected)
    eight = [
        swin2sr_ops.restore(images["a"], model=spec.name, range=(0, 1), ensemble=8, tile=tile).compute()
        for tile in (13, 40)
    ]
    np.testing.assert_array_equal(*eight)
    assert np.abs(eight[0] - swin2sr_ops.restore(images["a"], model=spec.name, range=(0, 1)).compute()).max() > 0


@settings(max_examples=20)
@given(integers(1, 60), integers(1, 60), integers(3, 60), sampled_from(Family.specs), integers(0, 99))
def test_clean_pixels_saw_no_hole(height: int, width: int, tile: int, spec: ModelSpec, seed: int) -> None:
    """Every pixel that depends on the value in a hole is marked, for any tiles."""
    rng = np.random.default_rng(seed)
    invalid = rng.random((height, width)) < 0.01
    order, marks = AxisOrder.of(invalid.shape, "YX"), np.full((height * spec.scale, width * spec.scale), 9, "u1")
    for part in TilePlan(spec, height, width, (tile, tile)):
        flags = context_flags(invalid[tile_region(order, part)], part, spec, "exact")
        marks[slice(*part.y.write), slice(*part.x.write)] = flags
    net, image = net_of(*map(int, spec.name.split("-")[1:])), picture(spec.channels, height, width)
    other = torch.where(torch.from_numpy(invalid), 1 - image, image)
    changed = (whole(net, image, spec) != whole(net, other, spec)).any(0).numpy()
    assert not changed[marks == CLEAN].any()


# --- plans --------------------------------------------------------------------------------------------


def test_figures_of_a_plan() -> None:
    spec = spec_of(depth=3, cell=50)  # halo 5
    plan = TilePlan(spec, 100, 100, (100, 100))
    assert plan.exact
    assert plan.halo_pixels == 5
    assert plan.expected_error == 0.0
    assert plan.over_compute == pytest.approx(1.1**2)
    assert "none, equals one pass" in str(plan)
    unsure = replace(spec, reach=replace(spec.reach, exact=False), halo_error={"5": 0.01})
    told = TilePlan(unsure, 100, 100, (100, 100))
    assert not told.exact
    assert "approximate: measured error 0.01 of full range at halo 5 px; the same pixels from any tiles" in str(told)
    assert told.to_dict()["expected_error"] == 0.01


def test_tiles_fit_the_memory() -> None:
    """A cell at work is counted; tiles are whole cells."""
    spec = replace(spec_of(), reach=Reach(halo=20, cell=64, pixel_bytes=1000))
    cell = 104**2 * 1000
    rows, columns = fit_tile(spec, (5000, 5000), 4 * cell)
    assert rows % 64 == columns % 64 == 0
    assert cell < TilePlan(spec, 5000, 5000, (rows, columns)).peak_bytes <= 2 * cell
    with pytest.raises(PlanError, match="halo=16"):
        fit_tile(spec, (5000, 5000), cell)
    assert TilePlan(replace(spec, reach=Reach(halo=20, cell=64)), 64, 64, (64, 64)).peak_bytes > 64**2 * 4 * 1024


@given(integers(1, 200), integers(0, 199), integers(1, 200), sampled_from(Family.specs))
def test_the_region_of_a_span(size: int, start: int, length: int, spec: ModelSpec) -> None:
    """A span reads the surroundings of its cells, nothing beyond the border, and at most one cell too many."""
    start = start % size
    stop = min(start + length, size)
    span, side = Span.exact(start, stop, size, spec), cell_side(spec)
    halo, edge = spec.reach.halo, padded_size(size, spec.reach.multiple)
    lo, hi = span.read
    assert max(0, start - halo - side - spec.window) <= lo <= max(0, start - halo)
    assert min(edge, stop + halo) <= hi <= min(edge, stop + halo + side + spec.window)
    assert 0 <= span.source[0] <= span.source[1] <= size
    assert len(span.padding) == hi - lo
    assert math.gcd(lo, spec.window) == spec.window


# --- invalid specs and networks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reach": None}, "without `reach` its receptive field is unknown"),
        ({"reach": Reach(halo=-1)}, "negative"),
        ({"window": 4, "reach": Reach(halo=3, multiple=3)}, "multiple 3"),
        ({"window": 4, "reach": Reach(halo=3, cell=6)}, "cell 6"),
        ({"window": 0}, "window 0"),
        ({"channels": 2}, "channels 2"),
        ({"scale": 0}, "scale 0"),
        ({"architecture": "swin2sr"}, "derives its reach from its layers"),
    ],
)
def test_invalid_specs(changes: dict[str, Any], says: str) -> None:
    values = {"name": "x", "architecture": "theirs", "scale": 2, "channels": 1, "window": 1, "reach": Reach(halo=3)}
    with pytest.raises(ModelError, match=says):
        ModelSpec(**(values | changes))


def test_a_spec_travels() -> None:
    spec = spec_of(step=3)
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert "dim" not in spec.to_dict()
    assert "reach" not in ModelSpec(name="ours", scale=2).to_dict()


class Wrong(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (torch.zeros(1, 1, 8, 8), ModelError, r"returned \(1, 1, 8, 8\) .* scale 2 .* \(1, 1, 16, 16\)"),
        ("a picture", ModelError, "returned str"),
        (KeyError("layer"), TileError, "failed at an input of shape .*KeyError"),
    ],
)
def test_networks_that_do_something_else(answer: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        in_tiles(CellEngine(Wrong(answer), spec_of()), picture(1, 8, 8), (8, 8))


def test_a_strange_module_under_our_name() -> None:
    with pytest.raises(ModelError, match="its plugin built a Brightness"):
        engine_of(Brightness(), ModelSpec(name="ours", scale=2))
