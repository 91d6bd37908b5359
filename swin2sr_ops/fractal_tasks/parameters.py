"""Types and descriptions of the parameters that Fractal's tasks share."""

from __future__ import annotations

from typing import Annotated, Literal

from swin2sr_ops.fractal_tasks import check_host

check_host()

from pydantic import Field  # noqa: E402  (said first that it is missing)

from swin2sr_ops.options import OPTIONS  # noqa: E402

__all__ = [
    "CarryLabels",
    "CarryTables",
    "Device",
    "Engine",
    "Halo",
    "Model",
    "Nodata",
    "Precision",
    "Range",
    "Scale",
    "Tile",
]

Model = Annotated[str, Field(description=OPTIONS["model"].form)]
Scale = Annotated[int | None, Field(description=OPTIONS["scale"].form)]
Range = Annotated[str, Field(description=OPTIONS["range"].form)]
Nodata = Annotated[float | None, Field(description=OPTIONS["nodata"].form)]
Halo = Annotated[int | None, Field(description=OPTIONS["halo"].form)]
Tile = Annotated[int | None, Field(description=OPTIONS["tile"].form)]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Field(description=OPTIONS["device"].form)]
Precision = Annotated[Literal["auto", "float32", "float64", "bfloat16"], Field(description=OPTIONS["precision"].form)]
Engine = Annotated[Literal["auto", "torch", "native", "openvino", "triton"], Field(description=OPTIONS["engine"].form)]
CarryLabels = Annotated[bool, Field(description="Copy the image's labels, enlarged by nearest neighbour.")]
CarryTables = Annotated[bool, Field(description="Copy tables of regions (ROI tables), which are in physical units.")]
