"""Write the small files that the pages in ``docs/`` use."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MICROMETERS = 0.65
_CHANNELS = [{"label": "DAPI", "color": "0000FF"}, {"label": "GFP", "color": "00FF00"}]


def picture(*shape: int, seed: int = 0, top: float = 4000.0, dtype: str = "uint16") -> NDArray[Any]:
    """Smooth spots of light with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]] / 5.0
    phases = rng.uniform(0, 6, (*shape[:-2], 1, 1))
    waves = 0.25 * (2 + np.sin(y + phases) + np.cos(1.3 * x - phases))
    return (top * (0.05 + 0.9 * waves + 0.01 * rng.random(shape))).astype(dtype)


# --- OME-Zarr -------------------------------------------------------------------------------------


def _group(path: Path, attributes: Mapping[str, Any], version: str) -> None:
    import zarr

    held = {"ome": {"version": "0.5", **attributes}} if version == "0.5" else dict(attributes)
    zarr.open_group(path, mode="a", zarr_format=3 if version == "0.5" else 2).update_attributes(held)


def ngff(
    path: Path,
    pixels: NDArray[Any],
    axes: str,
    *,
    version: str = "0.5",
    chunks: tuple[int, int] = (32, 32),
    shards: tuple[int, int] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """An OME-Zarr image of one level."""
    import zarr

    kinds = {"t": "time", "c": "channel"}
    described: list[dict[str, Any]] = [{"name": a, "type": kinds.get(a, "space")} for a in axes.lower()]
    for axis in described:
        if axis["type"] == "space":
            axis["unit"] = "micrometer"
    place = {"Z": 2.0, "Y": _MICROMETERS, "X": _MICROMETERS}
    scale = {"type": "scale", "scale": [place.get(a, 1.0) for a in axes]}
    multiscales: dict[str, Any] = {
        "axes": described,
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
        **({"version": "0.4"} if version == "0.4" else {}),
    }
    _group(path, {"multiscales": [multiscales], **(more or {})}, version)
    lead = (1,) * (pixels.ndim - 2)
    v3 = version == "0.5"
    zarr.create_array(
        path / "0",
        data=pixels,
        chunks=(*lead, *chunks),
        shards=None if shards is None else (*lead, *shards),
        zarr_format=3 if v3 else 2,
        dimension_names=list(axes.lower()) if v3 else None,
        chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
    )


def _omero(*labels: str) -> dict[str, Any]:
    window = {"start": 100, "end": 3500, "min": 0, "max": 65535}
    known = {c["label"]: c for c in _CHANNELS}
    return {"omero": {"channels": [{**known[name], "active": True, "window": window} for name in labels]}}


def image(path: Path) -> None:
    """Two channels, two planes, and the outlines of nuclei as a label image."""
    ngff(path, picture(2, 2, 24, 28), "CZYX", more=_omero("DAPI", "GFP"))
    nuclei = (np.indices((2, 24, 28))[1] // 6).astype("uint32")
    ngff(path / "labels" / "nuclei", nuclei, "ZYX", more={"image-label": {"source": {"image": "../../"}}})
    _group(path / "labels", {"labels": ["nuclei"]}, "0.5")


def plate(path: Path, *, promised: str = "") -> None:
    """Two wells, one of two fields, in OME-Zarr 0.4; ``promised`` is a well that is not there."""
    wells = {"A/1": 2, "B/2": 1}
    names = [*wells, *([promised] if promised else [])]
    rows, columns = ("A", "B"), ("1", "2", "3")
    listed = [
        {"path": w, "rowIndex": rows.index(w[0]), "columnIndex": columns.index(w[2])} for w in names
    ]  # fmt: skip
    told = {"rows": [{"name": r} for r in rows], "columns": [{"name": c} for c in columns], "wells": listed}
    _group(path, {"plate": {"name": "screen", "version": "0.4", "field_count": 2, **told}}, "0.4")
    for seed, (well, fields) in enumerate(wells.items()):
        _group(path / well[0], {}, "0.4")
        content = {"images": [{"path": str(f)} for f in range(fields)], "version": "0.4"}
        _group(path / well, {"well": content}, "0.4")
        for f in range(fields):
            where, pixels = path / well / str(f), picture(1, 24, 24, seed=10 * seed + f)
            ngff(where, pixels, "CYX", version="0.4", more=_omero("DAPI"))


# --- TIFF -----------------------------------------------------------------------------------------


def ome_tiff(path: Path, pixels: NDArray[Any], axes: str, *names: str) -> None:
    """An OME-TIFF as Bio-Formats and tifffile write it."""
    import tifffile

    size = {f"PhysicalSize{a}": _MICROMETERS for a in "YX"} | {f"PhysicalSize{a}Unit": "µm" for a in "YX"}
    channels = {"Channel": {"Name": list(names)}} if names else {}
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, pixels, photometric=photometric, tile=(32, 32), metadata={"axes": axes, **size, **channels})


def slides(folder: Path) -> None:
    """Write two slides, a truncated file, and one that is not an image."""
    folder.mkdir()
    (folder / "day2").mkdir()
    for seed, name in enumerate(("a.ome.tif", "day2/b.ome.tif", "day2/half.ome.tif")):
        ome_tiff(folder / name, np.moveaxis(picture(3, 24, 24, seed=seed, top=255, dtype="uint8"), 0, -1), "YXS")
    half = folder / "day2" / "half.ome.tif"
    half.write_bytes(half.read_bytes()[: half.stat().st_size * 2 // 3])
    (folder / "notes.txt").write_text("stained on Monday\n")


def microscopy(folder: Path) -> None:
    """Write the files of ``docs/microscopy.md`` and pages that use the same."""
    import tifffile

    image(folder / "image.ome.zarr")
    plate(folder / "plate.ome.zarr")
    plate(folder / "gap.ome.zarr", promised="A/3")
    ome_tiff(folder / "stack.ome.tif", picture(2, 2, 24, 28), "ZCYX", "DAPI", "GFP")
    kept = {"axes": "ZCYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(
        folder / "hyperstack.tif", picture(2, 2, 24, 28), imagej=True, resolution=(1 / 0.65,) * 2, metadata=kept
    )
    mosaic = picture(64, 96, seed=3)
    mosaic[:, :24] = 0
    ngff(folder / "mosaic.ome.zarr", mosaic, "YX")
    scanned = np.ones((16, 24), "uint8")
    scanned[:, :6] = 0
    tifffile.imwrite(folder / "scanned.tif", scanned)
    slides(folder / "slides")
    import zarr

    group = zarr.open_group(folder / "store.zarr", mode="w")
    group.create_array("raw/camera1", data=picture(2, 24, 24), chunks=(1, 12, 12))


# --- rasters --------------------------------------------------------------------------------------

_BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "undefined", "B11": "undefined"}


def scene(path: Path, *, seed: int = 0, interpreted: bool = True, rotated: bool = False) -> None:
    """Five bands of Sentinel-2: reflectance in 1/10000, moved by 1000, and nodata 0 in a corner."""
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.transform import Affine

    pixels = picture(len(_BANDS), 32, 40, seed=seed, top=6000)
    pixels[:, :5, :5] = 0
    place = Affine(10, 0, 500_000, 0, -10, 5_400_000) * (Affine.rotation(12) if rotated else Affine.identity())
    profile = {"driver": "GTiff", "width": 40, "height": 32, "count": len(_BANDS), "dtype": "uint16"}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32632", transform=place, nodata=0, tiled=True, blockxsize=16, blockysize=16
    ) as raster:
        raster.write(pixels)
        raster.descriptions = tuple(_BANDS)
        raster.scales, raster.offsets = (1e-4,) * len(_BANDS), (-0.1,) * len(_BANDS)
        if interpreted:
            raster.colorinterp = [ColorInterp[name] for name in _BANDS.values()]


def remote_sensing(folder: Path) -> None:
    """Write the files of ``docs/remote-sensing.md``."""
    import rasterio

    scene(folder / "scene.tif")
    scene(folder / "rotated.tif", seed=1, rotated=True)
    scene(folder / "bands.tif", seed=2, interpreted=False)
    (folder / "scenes").mkdir()
    for day in (1, 2):
        scene(folder / "scenes" / f"day{day}.tif", seed=day)
    (folder / "safe").mkdir()
    place = rasterio.Affine(20, 0, 500_000, 0, -20, 5_400_000)
    band = {"count": 1, "crs": "EPSG:32632", "transform": place, "width": 32, "height": 32, "dtype": "uint16"}
    jpeg = {"driver": "JP2OpenJPEG", "REVERSIBLE": "YES"}
    with rasterio.open(folder / "safe" / "T32UQV_B8A_20m.jp2", "w", **band, **jpeg) as raster:
        raster.write(picture(1, 32, 32))
    clear = np.ones((1, 8, 10), "uint8")
    clear[:, 3:5, 3:5] = 0
    small = {"width": 10, "height": 8, "dtype": "uint8", "transform": place * rasterio.Affine.scale(2)}
    with rasterio.open(folder / "clear.tif", "w", driver="GTiff", **{**band, **small}) as mask:
        mask.write(clear)


def evidence(folder: Path) -> None:
    """Write the files of ``docs/evidence.md``."""
    from PIL import Image

    microscopy(folder)
    shutil.rmtree(folder / "image.ome.zarr" / "labels")  # each run would warn that they are not copied
    for place, first in (("clean", 0), ("heldout", 50)):
        (folder / place).mkdir()
        for i in range(6):
            pixels = picture(200, 200, seed=first + i, top=255, dtype="uint8")
            Image.fromarray(pixels).save(folder / place / f"{i}.png")


def batch(folder: Path) -> None:
    """Write the files of ``docs/batch.md``."""
    slides(folder / "slides")
    ome_tiff(folder / "stack.ome.tif", picture(2, 2, 24, 28), "ZCYX", "DAPI", "GFP")
    (folder / "files.txt").write_text("# slides to do\nslides/a.ome.tif\n\nslides/day2/b.ome.tif\n")


def clusters(folder: Path) -> None:
    """Write the files of ``docs/clusters.md``."""
    plate(folder / "plate.ome.zarr")
    for name in "ab":
        ngff(folder / f"{name}.ome.zarr", picture(24, 24), "YX")


def evaluate(folder: Path) -> None:
    """Write the files of ``docs/evaluate.md``."""
    import tifffile
    from PIL import Image

    from swin2sr_ops.evaluate import imresize

    places = {"photos": "{}.png", "set/HR": "{}.png", "set/LR_bicubic/X2": "{}x2.png"}
    for place, name in places.items():
        (folder / place).mkdir(parents=True)
        for i in range(2):
            colours = picture(3, 48, 40, seed=i, top=255, dtype="uint8").transpose(1, 2, 0)
            pixels = imresize(colours, (24, 20)) if "X2" in place else colours
            Image.fromarray(np.ascontiguousarray(pixels)).save(folder / place / name.format(i))
    (folder / "cells").mkdir()
    tifffile.imwrite(folder / "cells" / "stack.tif", picture(2, 48, 40), metadata={"axes": "ZYX"})


# --- training.md ----------------------------------------------------------------------------------


def training(folder: Path) -> None:
    """Write the files of ``docs/training.md``."""
    import tifffile

    for place, count in {"fields": 3, "heldout": 2, "pairs/clean": 2}.items():
        (folder / place).mkdir(parents=True)
        for i in range(count):
            tifffile.imwrite(folder / place / f"{i}.tif", picture(80, 90, seed=i + len(place)))
    (folder / "pairs" / "noisy").mkdir()
    for clean in (folder / "pairs" / "clean").iterdir():
        light = np.random.default_rng(0).poisson(tifffile.imread(clean) / 100) * 100
        tifffile.imwrite(folder / "pairs" / "noisy" / clean.name, light.astype("u2"))
    (folder / "stacks").mkdir()
    ome_tiff(folder / "stacks" / "0.ome.tif", picture(4, 40, 44), "ZYX")
    head = '[model]\nname = "x1"\ntask = "denoise"\nscale = 1\nchannels = 1\nupsampler = ""\n'
    (folder / "x1.toml").write_text(head + "dim = 8\ndepths = [2]\nheads = [2]\n")


# --- models.md ------------------------------------------------------------------------------------


def nothing(folder: Path) -> None:
    """Pages whose commands need no files."""
