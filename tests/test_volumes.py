"""Models of neighbouring planes: a volume is the oracle of its cuts, along Z too, in every way to restore."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings, strategies as st

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.cli import main
from swin2sr_ops.engine import restorer
from swin2sr_ops.errors import CheckpointError, ModelError, RequestError, Stopped
from swin2sr_ops.events import TileDone
from swin2sr_ops.export.bioimageio import export_bioimageio
from swin2sr_ops.export.onnx import export_onnx
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.neighbours import Depth, depth_of, neighbour_axis, reflected
from swin2sr_ops.pixels.nodata_flags import HOLE, SAW_HOLE
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.pipeline import TileWork
from swin2sr_ops.run.run import run
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.loader import resolve_spec
from tests.conftest import random_net, small_spec, write_model

X1 = {"upsampler": "", "scale": 1, "task": "denoise"}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """x1, three planes along any axis."""
    return write_model(tmp_path_factory.mktemp("volumes") / "three.safetensors", name="three", planes=3, **X1)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """x2, five planes along Z."""
    return write_model(tmp_path_factory.mktemp("volumes") / "five.safetensors", name="five", planes=5, along="Z")


def volume(*shape: int, dtype: str = "u2") -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return (rng.random(shape) * 4000).astype(dtype)


def test_planes_beyond_the_ends_are_reflected() -> None:
    """As NumPy reflects, for any number of planes; and a tile reads no plane outside what it needs."""
    for size in range(2, 8):
        for reach in range(1, 4):
            expected = np.pad(np.arange(size), reach, mode="reflect")
            assert [reflected(i, size) for i in range(-reach, size + reach)] == expected.tolist()
            for start in range(size):
                for stop in range(start + 1, size + 1):
                    depth = Depth(0, start, stop, size, reach)
                    first, last = depth.read
                    assert last - first <= stop - start + 2 * reach
                    assert list(range(first, last))[depth.owned] == list(range(start, stop))
                    for i in range(stop - start):
                        entering = [first + z for z in depth.entering(i)]
                        window = expected[start + i : start + i + 2 * reach + 1].tolist()
                        assert entering[0] == start + i
                        assert sorted(entering) == sorted(window)
                        assert all(0 <= z - first < last - first for z in entering)


def test_it_equals_the_network_on_whole_planes(tmp_path: Path) -> None:
    """The oracle shares no code with the tiles: NumPy pads the volume, torch runs on each plane."""
    import torch

    for scale, upsampler, planes in ((1, "", 3), (2, "pixelshuffledirect", 5), (2, "nearest+conv", 3)):
        spec = write_model(
            tmp_path / f"{scale}{planes}.safetensors", planes=planes, scale=scale, upsampler=upsampler, num_feat=8
        )
        net, image, reach = random_net(spec).double(), volume(4, 40, 51, dtype="f8") / 4000, planes // 2
        padded = np.pad(image, ((reach, reach), (0, 0), (0, 0)), mode="reflect")
        order = [reach, *(reach + side * step for step in range(1, reach + 1) for side in (-1, 1))]
        stacks = torch.from_numpy(np.stack([padded[z : z + planes][order] for z in range(len(image))]))
        with torch.no_grad():
            expected = net(stacks)[:, 0].numpy()
        found = swin2sr_ops.restore(
            image, model=spec, axes="ZYX", range=(0, 1), tile=24, precision="float64", engine="torch"
        ).compute()
        np.testing.assert_allclose(found, expected, atol=1e-10)


@settings(max_examples=12)
@given(
    size=st.tuples(st.integers(2, 7), st.integers(9, 60), st.integers(9, 60)),
    chunk=st.tuples(st.integers(1, 5), st.integers(5, 40), st.integers(5, 40)),
    tile=st.integers(9, 48),
    engine=st.sampled_from(["torch", "auto"]),
)
def test_any_cut_gives_the_same_bits(
    three: ModelSpec, five: ModelSpec, size: tuple[int, ...], chunk: tuple[int, ...], tile: int, engine: str
) -> None:
    image = volume(*size)
    for model in (three, five):
        options: dict[str, Any] = {"model": model, "axes": "ZYX", "engine": engine, "range": (0, 4000)}
        whole = swin2sr_ops.restore(image, tile=64, **options).compute()
        cut = swin2sr_ops.restore(da.from_array(image, chunks=chunk), tile=tile, **options).compute()
        np.testing.assert_array_equal(cut, whole)


def test_a_part_along_z_needs_its_neighbours_only(three: ModelSpec) -> None:
    """A cut with one more plane on either side has the volume's inner planes; and neighbours matter."""
    image = volume(8, 30, 40)
    options: dict[str, Any] = {"model": three, "axes": "ZYX", "range": (0, 4000)}
    whole = swin2sr_ops.restore(image, **options).compute()
    np.testing.assert_array_equal(swin2sr_ops.restore(image[2:7], **options).compute()[1:-1], whole[3:6])
    changed = image.copy()
    changed[4] = 0
    other = swin2sr_ops.restore(changed, **options).compute()
    differs = [not np.array_equal(a, b) for a, b in zip(whole, other, strict=True)]
    assert differs == [False, False, False, True, True, True, False, False]


def test_map_overlap(three: ModelSpec, five: ModelSpec) -> None:
    image = volume(8, 150, 60)
    for model in (three, five):
        restorer = swin2sr_ops.Restorer(model)
        expected = swin2sr_ops.restore(image, model=model, axes="ZYX", range="dtype").compute()
        depth = restorer.map_overlap_options(da.from_array(image, chunks=(8, 75, 60)), axes="ZYX")["depth"][1]
        for chunks in ((2, 150, 60), (4, max(75, depth), 60), (8, 150, 60)):
            array = da.from_array(image, chunks=chunks)
            options = restorer.map_overlap_options(array, axes="ZYX")
            np.testing.assert_array_equal(da.map_overlap(restorer, array, **options).compute(), expected)
    thin = da.from_array(image, chunks=(1, 150, 60))
    with pytest.raises(RequestError, match=r"along Z do not all have the depth of 2 planes"):
        swin2sr_ops.Restorer(five).map_overlap_options(thin, axes="ZYX")


def test_axes_lie_anywhere_and_channels_stay_apart(three: ModelSpec) -> None:
    image = volume(2, 3, 4, 30, 34)  # T C Z Y X
    options: dict[str, Any] = {"model": three, "range": (0, 4000)}
    found = swin2sr_ops.restore(image, axes="TCZYX", along="Z", **options).compute()
    for t, c in ((0, 0), (1, 2)):
        np.testing.assert_array_equal(found[t, c], swin2sr_ops.restore(image[t, c], axes="ZYX", **options).compute())
    frames = swin2sr_ops.restore(image, axes="TCZYX", along="t", **options).compute()
    one = swin2sr_ops.restore(image[:, 1, 2], axes="TYX", **options).compute()
    np.testing.assert_array_equal(frames[:, 1, 2], one)
    colour = swin2sr_ops.restore(image[0].transpose(1, 2, 3, 0), axes="ZYXS", **options).compute()
    np.testing.assert_array_equal(colour.transpose(3, 0, 1, 2), found[0])


@pytest.mark.parametrize(
    ("shape", "axes", "changes", "sentence"),
    [
        ((30, 30), "YX", {}, "without several planes along Z or T"),
        ((1, 30, 30), "ZYX", {}, "without several planes along Z or T"),
        ((4, 30, 30), "CYX", {}, "without several planes along Z or T"),
        ((2, 4, 30, 30), "TZYX", {}, "give along='Z' or along='T'"),
        ((4, 30, 30), "ZYX", {"along": "T"}, "without several planes along T.*or along='Z'"),
        ((4, 30, 30), "ZYX", {"along": "Y"}, "along='Y' is not an axis of neighbouring planes"),
        ((4, 30, 30), "ZYX", {"along": 3}, "along=3 is not an axis"),
    ],
)
def test_an_image_without_the_axis_gets_a_sentence(
    three: ModelSpec, shape: tuple[int, ...], axes: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RequestError, match=sentence):
        swin2sr_ops.restore(np.zeros(shape, "u1"), model=three, axes=axes, **changes)


def test_a_model_remembers_the_axis_of_its_training(five: ModelSpec, gray_model: ModelSpec) -> None:
    order = AxisOrder.of((3, 4, 30, 30), "TZYX")
    assert neighbour_axis(order, five) == 1
    assert neighbour_axis(order, five, "T") == 0
    with pytest.raises(RequestError, match=r"along Z, and .*give along='T' \(--along T\)"):
        neighbour_axis(AxisOrder.of((3, 30, 30), "TYX"), five)
    with pytest.raises(RequestError, match="restores each plane alone"):
        swin2sr_ops.restore(np.zeros((4, 30, 30), "u1"), model=gray_model, axes="ZYX", along="Z")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"planes": 2}, "planes 2 must be odd"),
        ({"planes": 0}, "planes 0 must be odd"),
        ({"planes": 3, "channels": 3}, "3 planes need 1 channel"),
        ({"planes": 3, "upsampler": "pixelshuffle_hf"}, "a head other than"),
        ({"planes": 3, "along": "Y"}, "along 'Y' must be the letter"),
    ],
)
def test_impossible_models(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        small_spec(**changes)


def test_holes_of_neighbours_take_the_planes_own_pixels(three: ModelSpec) -> None:
    """And the same for any cut: a missing frame does not darken those beside it."""
    image = volume(5, 40, 44, dtype="f4")
    holed = image.copy()
    holed[2, 10:25, 5:30] = np.nan
    holed[4] = np.nan
    options: dict[str, Any] = {"model": three, "axes": "ZYX", "range": (0, 4000)}
    whole = swin2sr_ops.restore(holed, **options).compute()
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(holed))
    cut = swin2sr_ops.restore(da.from_array(holed, chunks=(2, 15, 20)), tile=16, **options).compute()
    np.testing.assert_array_equal(cut, whole)
    filled = image.copy()
    filled[2], filled[4] = image[3], image[3]
    filled[2][~np.isnan(holed[2])] = image[2][~np.isnan(holed[2])]
    beside = swin2sr_ops.restore(filled, **options).compute()
    np.testing.assert_array_equal(whole[3], beside[3])


def written(path: Path, image: np.ndarray, axes: str = "ZYX") -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, image, metadata={"axes": axes}, imagej=False, ome=True)
        return path
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array("0", shape=image.shape, chunks=(*image.shape[:-3], 3, 16, 16), dtype=image.dtype)
    array[:] = image
    kinds = {"T": "time", "C": "channel"}
    named = [{"name": a.lower(), "type": kinds.get(a, "space")} for a in axes]
    scales = [{"type": "scale", "scale": [1.0] * image.ndim}]
    datasets = [{"path": "0", "coordinateTransformations": scales}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": named, "datasets": datasets}]}
    return path


@pytest.mark.parametrize("name", ["in.ome.zarr", "in.tif"])
def test_files_give_the_pixels_of_arrays(three: ModelSpec, five: ModelSpec, tmp_path: Path, name: str) -> None:
    image = volume(5, 50, 40)
    source = written(tmp_path / name, image)
    for model in (three, five):
        out = tmp_path / f"{model.name}.ome.zarr"
        report = swin2sr_ops.restore_image(source, out, model=model, tile=24, context=True)
        assert report.settings["along"] == "Z"
        expected = swin2sr_ops.restore(image, model=model, axes="ZYX").compute()
        np.testing.assert_array_equal(zarr.open_array(out / "0")[:], expected)
        assert audit(out, model=model.weights).ok
        again = swin2sr_ops.restore_image(source, out, model=model, tile=24, context=True)
        assert again.state == "already"


def test_a_tile_reads_one_plane_and_its_neighbours(three: ModelSpec, tmp_path: Path) -> None:
    """Memory: never more than a tile of as many planes as the model takes."""
    source = written(tmp_path / "in.ome.zarr", volume(6, 50, 40))
    job = prepare(source, RestoreRequest(model=three, tile=16))
    depths = []
    for piece in job.pieces():
        region = piece.read[0]
        depths.append(region.stop - region.start)
        assert piece.write[0].stop - piece.write[0].start == 1
        assert TileWork(job, (), None).read(piece).shape[0] == depths[-1]  # type: ignore[arg-type]
    assert set(depths) == {2, 3}
    assert depths.count(2) == 2 * len(job.plan)  # the ends


def test_a_stopped_run_is_resumed(three: ModelSpec, tmp_path: Path) -> None:
    source = written(tmp_path / "in.ome.zarr", volume(4, 40, 40))
    seen: list[object] = []

    def job() -> Any:
        return prepare(source, RestoreRequest(model=three, tile=16, range=(0, 4000)))  # type: ignore[arg-type]

    with pytest.raises(Stopped):
        run(
            job(), tmp_path / "out.ome.zarr", stop=lambda: len(seen) > 6,
            progress=lambda event: seen.append(event) if isinstance(event, TileDone) else None,
        )  # fmt: skip
    report = run(job(), tmp_path / "out.ome.zarr")
    assert report.resumed > 0
    run(job(), tmp_path / "whole.ome.zarr")
    one, two = (zarr.open_array(tmp_path / n / "0")[:] for n in ("out.ome.zarr", "whole.ome.zarr"))
    np.testing.assert_array_equal(one, two)


def test_the_axis_is_part_of_the_fingerprint(three: ModelSpec, tmp_path: Path) -> None:
    source = written(tmp_path / "in.ome.zarr", volume(3, 4, 20, 20), "TZYX")
    given = ["restore", str(source), str(tmp_path / "out.ome.zarr"), "--model", three.weights]
    assert main([*given, "--along", "T"]) == 0
    assert main([*given, "--along", "T"]) == 0  # finished already
    assert main([*given, "--along", "Z"]) == 2
    settings_ = json.loads((tmp_path / "out.ome.zarr" / "zarr.json").read_text())
    assert '"along": "T"' in json.dumps(settings_)


def test_flags_know_the_holes_of_neighbours(three: ModelSpec, tmp_path: Path) -> None:
    image = volume(4, 30, 30, dtype="f4")
    image[1, 10:14, 10:14] = np.nan
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(written(tmp_path / "in.ome.zarr", image), out, model=three, context=True)
    group = zarr.open_group(out)
    flags = group["labels/nodata_context/0"][:]
    assert (flags[1] == HOLE).sum() == 16
    assert (flags[[0, 2], 12, 12] == SAW_HOLE).all()
    assert set(np.unique(flags[[0, 2]])) <= {0, SAW_HOLE}
    assert not flags[3].any()


def test_views_and_engines(three: ModelSpec, five: ModelSpec) -> None:
    """An ensemble turns all planes alike; our kernels and torch agree."""
    image = volume(3, 33, 40)
    for model in (three, five):
        options: dict[str, Any] = {"model": model, "axes": "ZYX", "range": (0, 4000)}
        whole = swin2sr_ops.restore(image, ensemble=8, **options).compute()
        np.testing.assert_array_equal(swin2sr_ops.restore(image, ensemble=8, tile=20, **options).compute(), whole)
        turned = swin2sr_ops.restore(image[:, ::-1], ensemble=8, **options).compute()[:, ::-1]
        assert np.abs(turned.astype(int) - whole).max() <= 1
        native, torch = (swin2sr_ops.restore(image, engine=e, **options).compute() for e in ("auto", "torch"))
        assert np.abs(native.astype(int) - torch).max() <= 1
    kept = swin2sr_ops.restore(image, model=five, axes="ZYX", range=(0, 4000), consistent="mean").compute()
    np.testing.assert_array_equal(kept.reshape(3, 33, 2, 40, 2).mean((2, 4)), image)


def test_the_depth_of_a_tile_is_computed_once(
    three: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def counted(*args: Any) -> Depth | None:
        calls.append(args)
        return depth_of(*args)

    monkeypatch.setattr(restorer, "depth_of", counted)
    tifffile.imwrite(tmp_path / "in.ome.tif", volume(4, 20, 20), metadata={"axes": "ZYX"})
    job = prepare(tmp_path / "in.ome.tif", RestoreRequest(model=three))
    piece = job.piece_of({0: slice(1, 2)}, (0, 20), (0, 20))
    assert piece.tile.depth == job.piece(1).tile.depth
    assert len(calls) == 2  # for each of both pieces
    lazy = swin2sr_ops.restore(volume(4, 20, 20), model=three, axes="ZYX", range=(0, 4000))
    calls.clear()
    lazy.compute()
    assert not calls  # the graph has them


def test_a_bare_checkpoint_needs_the_number_of_planes(three: ModelSpec, tmp_path: Path, capsys: Any) -> None:
    import torch

    torch.save(random_net(three).state_dict(), tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"turns 3 channels into 1 .*give planes=3"):
        resolve_spec(tmp_path / "bare.pth", window=8, value_range=1)
    found = resolve_spec(tmp_path / "bare.pth", window=8, value_range=1, planes=3)
    assert (found.channels, found.planes) == (1, 3)
    tifffile.imwrite(tmp_path / "z.tif", volume(3, 20, 24), photometric="minisblack", metadata={"axes": "ZYX"})
    given = ["--window", "8", "--value-range", "1"]
    words = [str(tmp_path / "z.tif"), str(tmp_path / "z.ome.zarr"), "--model", str(tmp_path / "bare.pth"), *given]
    capsys.readouterr()
    assert main(["restore", *words, "--quiet"]) == 2
    told = capsys.readouterr().err
    assert "give planes=3" in told
    assert "omit" not in told  # a plugin has nothing to say about a file of this family
    assert main(["restore", *words, "--quiet", "--planes", "3"]) == 0
    assert main(["plan", *words, "--planes", "3"]) == 0
    written = tmp_path / "three.safetensors"
    to = ["--to", "safetensors", "--output", str(written)]
    assert main(["export", str(tmp_path / "bare.pth"), *to, *given, "--planes", "3"]) == 0
    assert resolve_spec(written).planes == 3
    spec = small_spec(planes=1, channels=2, **X1)
    state = random_net(spec).state_dict() | {"conv_last.weight": torch.zeros(1, 12, 3, 3)}
    torch.save(state, tmp_path / "even.pth")
    with pytest.raises(CheckpointError, match="turns 2 channels into 1"):
        resolve_spec(tmp_path / "even.pth", window=8, value_range=1)


def test_hosts_give_the_same_pixels(three: ModelSpec, tmp_path: Path) -> None:
    """Served, by xarray, and after a journey to a worker."""
    image = volume(5, 50, 40)
    expected = swin2sr_ops.restore(image, model=three, axes="ZYX").compute()
    store = swin2sr_ops.restored_store(written(tmp_path / "in.ome.zarr", image), model=three, along="Z")
    np.testing.assert_array_equal(zarr.open_array(store, path="0", mode="r")[2:4], expected[2:4])
    xr = pytest.importorskip("xarray")
    import swin2sr_ops_xarray  # noqa: F401  (adds the accessor)

    restored = xr.DataArray(image, dims=("z", "y", "x")).swin2sr.restore(model=three, along="Z")
    np.testing.assert_array_equal(restored.values, expected)
    twin = pickle.loads(pickle.dumps(swin2sr_ops.Restorer(three, along="z")))
    assert twin.placement.along == "Z"
    assert "along='Z'" in repr(twin)


def test_exports(three: ModelSpec, tmp_path: Path) -> None:
    pytest.importorskip("bioimageio.core", reason="bioimageio.core tests packages")
    with pytest.raises(ModelError, match="takes 3 neighbouring planes as channels"):
        export_bioimageio(three, tmp_path / "three.zip")
    pytest.importorskip("onnxscript", reason="onnxscript writes graphs")
    report = export_onnx(three, tmp_path / "three.onnx", tile=128)
    assert report.channels == 3


def test_a_plan_says_that_neighbours_are_read(three: ModelSpec) -> None:
    plan = swin2sr_ops.Restorer(three).plan(40, 40, 40)
    assert plan.to_dict()["planes"] == 3
    assert "planes      3 enter for each" in str(plan)
