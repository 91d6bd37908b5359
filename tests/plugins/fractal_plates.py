"""Write plates like Fractal's, and read their documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

import swin2sr_ops
from swin2sr_ops.spec import ModelSpec


def put(group: zarr.Group, version: str, **ome: Any) -> None:
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", **ome}
    else:
        group.attrs.update({k: v if isinstance(v, list) else {**v, "version": "0.4"} for k, v in ome.items()})


def write_image(group: zarr.Group, pixels: np.ndarray, version: str) -> None:
    names = ["c", "y", "x"] if version == "0.5" else None
    group.create_array("0", data=pixels, chunks=(1, 32, 32), dimension_names=names)
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": a, "type": "space", "unit": "micrometer"} for a in "yx"
    ]  # fmt: skip
    place = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    image = {"axes": axes, "name": "field", "datasets": [{"path": "0", "coordinateTransformations": place}]}
    put(group, version, multiscales=[image | ({} if version == "0.5" else {"version": "0.4"})])


def write_tables(group: zarr.Group) -> None:
    """Write tables like Fractal's: an AnnData each, here with one column only."""
    listed = {"FOV_ROI_table": "roi_table", "nuclei_ROI": "masking_roi_table", "nuclei_area": "feature_table"}
    where = group.create_group("tables")
    where.attrs["tables"] = list(listed)
    for name, kind in listed.items():
        table = where.create_group(name)
        table.attrs["type"] = kind
        table.create_array("X", data=np.array([[0.0, 20.0]], "f4"))


def write_plate(path: Path, version: str) -> dict[str, np.ndarray]:
    """Two wells, three fields of two channels; tables in the first."""
    rng = np.random.default_rng(0)
    root = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    wells = {"A/1": ["0", "1"], "B/2": ["0"]}
    put(
        root, version,
        plate={
            "name": "screen", "rows": [{"name": "A"}, {"name": "B"}], "columns": [{"name": "1"}, {"name": "2"}],
            "wells": [{"path": w, "rowIndex": i, "columnIndex": i} for i, w in enumerate(wells)],
            "acquisitions": [{"id": 0}], "field_count": 2,
        },
    )  # fmt: skip
    found = {}
    for well, fields in wells.items():
        group = root.create_group(well)
        put(group, version, well={"images": [{"path": f, "acquisition": 0} for f in fields]})
        for field in fields:
            found[f"{well}/{field}"] = rng.integers(0, 999, (2, 40, 50)).astype("u2")
            write_image(group.create_group(field), found[f"{well}/{field}"], version)
    write_tables(root["A/1/0"])
    return found


def listed(well: Path) -> list[dict[str, Any]]:
    attributes = zarr.open_group(well, mode="r").attrs.asdict()
    return attributes.get("ome", attributes)["well"]["images"]


def plate_of(path: Path) -> dict[str, Any]:
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    return attributes.get("ome", attributes)["plate"]


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def level0(path: Path) -> np.ndarray:
    return zarr.open_group(path, mode="r")["0"][:]


def expected(pixels: np.ndarray, model: ModelSpec) -> np.ndarray:
    return swin2sr_ops.restore(pixels, model=model, axes="CYX").compute()
