"""Labels copied beside a restored image: no value changes or moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_array_equal

import swin2sr_ops
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.zarr import labels
from swin2sr_ops.io.zarr.labels import carry_labels, label_names, missing_labels
from swin2sr_ops.io.zarr.ngff import image_attributes, ome_attributes
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.testing import whole

IMAGE_LABEL = {
    "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}],
    "properties": [{"label-value": 1, "class": "cell"}],
    "source": {"image": "../../"},
}


def write(store, path, pixels, axes, version, **attributes):
    """An image group of one level; pixels 0.5 um apart, the first at 3 um."""
    v3 = version == "0.5"
    scale = [0.5 if a in "yx" else 1.0 for a in axes]
    shift = [3.0 if a in "yx" else 0.0 for a in axes]
    kinds = {"t": "time", "c": "channel"}
    multiscale = {
        "axes": [
            {"name": a, "type": kinds.get(a, "space"), **({"unit": "micrometer"} if a in "yx" else {})} for a in axes
        ],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": shift},
                ],
            }
        ],
    }
    content = {"multiscales": [multiscale], **attributes.pop("ome", {})}
    if v3:
        given_attributes = {"ome": {"version": version, **content}, **attributes}
    else:
        multiscale["version"] = version
        given_attributes = {**content, **attributes}
    zarr.open_group(store, path=path, mode="a", zarr_format=3 if v3 else 2, attributes=given_attributes)
    array = zarr.create_array(
        store,
        name=f"{path}/0".lstrip("/"),
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(1,) * (pixels.ndim - 2) + (20, 20),
        zarr_format=3 if v3 else 2,
        dimension_names=list(axes) if v3 else None,
        chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
    )
    array[...] = pixels


def listing(store, names, version, path="labels"):
    content = {"labels": list(names)}
    content = {"ome": {"version": version, **content}} if version == "0.5" else content
    zarr.open_group(store, path=path, mode="a", zarr_format=3 if version == "0.5" else 2, attributes=content)


def labelled(path, version="0.5", mask=None, axes="zyx"):
    """A (2, 3, 30, 45) image with one label image."""
    store = str(path)
    write(store, "", np.zeros((2, 3, 30, 45), "u2"), "czyx", version)
    if mask is None:
        mask = np.random.default_rng(0).integers(0, 2**32, (3, 30, 45), dtype="u4")
    listing(store, ["cells"], version)
    given_ome = {"image-label": IMAGE_LABEL if version == "0.5" else {"version": version, **IMAGE_LABEL}}
    write(store, "labels/cells", mask, axes, version, ome=given_ome, note={"by": "hand"})
    return store, mask


def repeated(mask, scale):
    return mask.repeat(scale, -2).repeat(scale, -1)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("written", ["0.4", "0.5"])
def test_labels_are_repeated_in_place(tmp_path, version, written):
    yaozarrs = pytest.importorskip("yaozarrs")
    uri, mask = labelled(tmp_path / "a.zarr", version)
    target = str(tmp_path / "out.zarr")
    write(target, "", np.zeros((2, 3, 60, 90), "u2"), "czyx", written)
    assert label_names(uri) == ("cells",)
    assert carry_labels(uri, target, scale=2, version=written) == ("cells",)
    yaozarrs.validate_zarr_store(target)
    source = open_source(target, array="labels/cells")
    assert_array_equal(source.read(whole(source.info)), repeated(mask, 2))
    assert (source.info.axes, source.info.dtype, source.info.format) == ("ZYX", "u4", f"OME-Zarr {written}")
    assert source.info.pixel_size == {"Z": 1.0, "Y": 0.25, "X": 0.25}
    assert source.info.origin == {"Z": 0.0, "Y": 2.875, "X": 2.875}
    assert source.info.units == {"Y": "micrometer", "X": "micrometer"}
    attributes = zarr.open_group(target, path="labels/cells", mode="r").attrs.asdict()
    described = dict(ome_attributes(attributes)["image-label"])
    assert described.pop("version", None) == (None if written == "0.5" else "0.4")
    assert described == IMAGE_LABEL
    assert attributes["note"] == {"by": "hand"}


@pytest.mark.parametrize("dtype", ["i1", "u2", "i8", ">i4", "u8", "?"])
def test_every_dtype_keeps_its_values(tmp_path, dtype):
    mask = np.random.default_rng(0).integers(0, 255, (3, 30, 45)).astype(dtype)
    mask[0, 0, :2] = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype != "?" else (False, True)
    uri, _ = labelled(tmp_path / "a.zarr", mask=mask)
    carry_labels(uri, tmp_path / "out.zarr", scale=3)
    source = open_source(str(tmp_path / "out.zarr" / "labels" / "cells"))
    assert source.info.dtype == np.dtype(dtype).newbyteorder("=")
    assert_array_equal(source.read(whole(source.info)), repeated(mask, 3))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_levels_take_every_second_pixel(tmp_path, scale):
    mask = np.random.default_rng(0).integers(0, 9999, (610, 431)).astype("i4")
    uri, _ = labelled(tmp_path / "a.zarr", mask=mask, axes="yx")
    carry_labels(uri, tmp_path / "out.zarr", scale=scale)
    place = str(tmp_path / "out.zarr" / "labels" / "cells")
    expected, info = repeated(mask, scale), open_source(place).info
    assert info.levels == {1: 2, 2: 3, 3: 3, 4: 4}[scale]
    ours = image_attributes(info, version="0.5", levels=info.levels, name="", ranges=())
    for level in range(info.levels):
        source = open_source(place, level=level)
        assert_array_equal(source.read(whole(source.info)), expected)
        assert source.info.chunks == tuple(min(512, n) for n in expected.shape)
        expected = expected[::2, ::2]
        places = ours["ome"]["multiscales"][0]["datasets"][level]["coordinateTransformations"]
        assert [source.info.pixel_size[a] for a in "YX"] == places[0]["scale"]
        assert [source.info.origin[a] for a in "YX"] == places[1]["translation"]


@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    scale=st.integers(1, 4),
    most=st.integers(1, 4000),
    side=st.integers(5, 20),
)
def test_any_cut_gives_the_same(tmp_path_factory, shape, scale, most, side):
    folder = tmp_path_factory.mktemp("cut")
    mask = np.arange(3 * np.prod(shape), dtype="u4").reshape(3, *shape)
    uri, _ = labelled(folder / "a.zarr", mask=mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_MOST", most)
        patch.setattr(labels, "_SIDE", side)
        carry_labels(uri, folder / "out.zarr", scale=scale)
    source = open_source(str(folder / "out.zarr" / "labels" / "cells"))
    assert_array_equal(source.read(whole(source.info)), repeated(mask, scale))


def test_memory_is_bounded(tmp_path):
    """A region of any label is at most 64 MB, however thick its chunks are."""
    store = str(tmp_path / "a.zarr")
    write(store, "", np.zeros((2, 2), "u1"), "yx", "0.5")
    for name, shape, chunks in (
        ("thick", (400, 3000, 3000), (400, 64, 64)),
        ("wide", (4, 20000, 20000), (1, 9999, 9999)),
    ):
        listing(store, ["x"], "0.5")
        zarr.create_array(
            store, name=f"labels/{name}", shape=shape, dtype="u4", chunks=chunks, dimension_names=list("zyx")
        )
        label = labels._Label(None, open_source(f"{store}/labels/{name}"), "", 2, "0.5")
        for level in range(3):
            unit = label._unit(level, tuple(-(-n * 2 // 2**level) for n in shape))
            assert np.prod(unit, dtype="i8") * 4 <= 64 * 2**20
            assert not unit[1] % 512
            assert not unit[2] % 512


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_given_again_the_bytes_are_the_same(tmp_path, version):
    uri, _ = labelled(tmp_path / "a.zarr")
    target = tmp_path / "out.zarr"
    carry_labels(uri, target, scale=2, version=version)
    before = contents(target)
    (target / "labels" / "cells" / "0" / "rest of a killed run").write_text("x")
    carry_labels(uri, target, scale=2, version=version)
    assert contents(target) == before


def test_the_listing_is_written_last(tmp_path, monkeypatch):
    from swin2sr_ops.io.storage.files import LocalFiles

    uri, _ = labelled(tmp_path / "a.zarr")
    written = []
    plain = LocalFiles.write
    monkeypatch.setattr(LocalFiles, "write", lambda self, key, data: (written.append(key), plain(self, key, data))[1])
    carry_labels(uri, tmp_path / "out.zarr", scale=2)
    assert written == ["labels/cells/zarr.json", "labels/zarr.json"]


def test_chosen_labels_join_those_that_are_there(tmp_path):
    uri, mask = labelled(tmp_path / "a.zarr")
    write(uri, "labels/b", mask, "zyx", "0.5", ome={"image-label": {}})
    zarr.open_group(uri, path="labels", mode="r+").attrs.put({"ome": {"version": "0.5", "labels": ["cells", "b"]}})
    target = str(tmp_path / "out.zarr")
    write(target, "", np.zeros((2, 3, 60, 90), "u2"), "czyx", "0.5")
    assert carry_labels(uri, target, scale=2, names=["b"]) == ("b",)
    assert label_names(target) == ("b",)
    assert carry_labels(uri, target, scale=2, names=["cells"]) == ("cells",)
    assert label_names(target) == ("b", "cells")
    with pytest.raises(RequestError, match=r"no label image 'c'.*'cells', 'b'"):
        carry_labels(uri, target, scale=2, names=["c"])
    with pytest.raises(RequestError, match=r"0\.5 or 0\.4"):
        carry_labels(uri, target, scale=2, version="0.3")


def test_labels_of_an_image_in_a_plate_through_urls(tmp_path):
    uri, mask = labelled("memory://labels/p.zarr/A/1/0")
    store = uri.removesuffix("/A/1/0")
    assert label_names(store, array="A/1/0") == ("cells",)
    assert carry_labels(store, "memory://labels/out.zarr/A/1/0", scale=2, array="A/1/0") == ("cells",)
    source = open_source("memory://labels/out.zarr", array="A/1/0/labels/cells")
    assert_array_equal(source.read(whole(source.info)), repeated(mask, 2))


def test_without_labels(tmp_path):
    store = str(tmp_path / "a.zarr")
    write(store, "", np.zeros((4, 4), "u1"), "yx", "0.5")
    assert label_names(store) == ()
    assert carry_labels(store, tmp_path / "out.zarr", scale=2) == ()
    assert not (tmp_path / "out.zarr").exists()


def test_listed_labels_that_are_broken(tmp_path):
    uri, _ = labelled(tmp_path / "a.zarr")
    zarr.open_group(uri, path="labels", mode="r+").attrs.put({"ome": {"version": "0.5", "labels": ["gone", "cells"]}})
    assert label_names(uri) == ("cells",)
    ((name, reason),) = missing_labels(uri)
    assert name == "gone"
    assert "labels/gone" in reason
    chunk = next(p for p in Path(uri, "labels", "cells", "0", "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"damaged")
    with pytest.raises(FormatError, match=r"labels/cells/0.*decoding"):
        carry_labels(uri, tmp_path / "out.zarr", scale=2)
    assert not (tmp_path / "out.zarr" / "labels" / "zarr.json").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_shared_labels(shared, tmp_path, version):
    yaozarrs = pytest.importorskip("yaozarrs")
    seen = 0
    for path in sorted((shared / f"data/formats/ome-zarr/ngio_v0{version[-1]}").iterdir()):
        names = label_names(str(path))
        assert names == ("label",)
        target = tmp_path / path.name
        source = open_source(str(path))
        axes = source.info.axes.lower()
        write(str(target), "", np.zeros(source.info.scaled(2).shape, "u1"), axes, version)
        carry_labels(str(path), str(target), scale=2, version=version)
        yaozarrs.validate_zarr_store(str(target))
        old, new = (open_source(str(p), array="labels/label") for p in (path, target))
        assert_array_equal(new.read(whole(new.info)), repeated(old.read(whole(old.info)), 2))
        seen += 1
    assert seen == 9


@pytest.mark.filterwarnings("ignore")
def test_shared_broken_labels(shared):
    uri = str(shared / "data/formats/ome-zarr/broken/broken/broken_v05.ome.zarr")
    assert label_names(uri, array="A/1/0") == ()
    assert [name for name, _ in missing_labels(uri, array="A/1/0")] == ["annotations"]
    assert [name for name, _ in missing_labels(uri, array="A/1/1")] == ["annotations"]
    assert label_names(uri, array="A/3/0") == ()  # two arrays, and no metadata that make them an image
    assert [name for name, _ in missing_labels(uri, array="B/3/0")] == ["labels"]  # the listing itself is broken
    assert label_names(uri, array="B/1/0") == ("annotations",)


def test_an_image_that_the_group_does_not_list_is_a_label(tmp_path):
    """Some writers forget the listing; groups that are not images are ignored."""
    group = write_labels_group(tmp_path / "source.zarr")
    assert label_names(str(tmp_path / "source.zarr")) == ("nuclei",)
    group["labels"].create_group("table")
    assert missing_labels(str(tmp_path / "source.zarr")) == ()
    assert carry_labels(str(tmp_path / "source.zarr"), tmp_path / "out.zarr", scale=2) == ("nuclei",)


def test_a_label_that_cannot_be_carried_is_named(tmp_path, gray_model):
    group = write_labels_group(tmp_path / "source.zarr")
    group["labels"].attrs["labels"] = ["nuclei", "cells"]
    with pytest.warns(UserWarning, match="label image 'cells' is not carried"):
        swin2sr_ops.restore_image(tmp_path / "source.zarr", tmp_path / "out.ome.zarr", model=gray_model, labels="carry")
    assert label_names(str(tmp_path / "out.ome.zarr")) == ("nuclei",)


def write_labels_group(path):
    """An image with a label that its ``labels`` group does not list."""
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["multiscales"] = multiscales
    group.create_array("0", data=np.ones((40, 48), "u2"))
    nuclei = group.create_group("labels/nuclei")
    nuclei.attrs.update({"multiscales": multiscales, "image-label": {"version": "0.4"}})
    nuclei.create_array("0", data=np.ones((40, 48), "u2"))
    return group
