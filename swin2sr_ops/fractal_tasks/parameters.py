"""Types and descriptions of the parameters that Fractal's tasks share."""

from __future__ import annotations

from typing import Annotated, Literal

from swin2sr_ops.fractal_tasks import check_host

check_host()

from pydantic import Field  # noqa: E402  (said first that it is missing)

from swin2sr_ops.options import OPTIONS, SIDES  # noqa: E402

__all__ = [
    "Along",
    "Calibration",
    "CarryLabels",
    "CarryTables",
    "Consistent",
    "Device",
    "Engine",
    "Halo",
    "Interval",
    "Limit",
    "Model",
    "Nodata",
    "Noise",
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
Along = Annotated[str | None, Field(description=OPTIONS["along"].form)]
Consistent = Annotated[str | None, Field(description=OPTIONS["consistent"].form)]
Interval = Annotated[float | None, Field(description=SIDES["interval"].form)]
Calibration = Annotated[str | None, Field(description=SIDES["calibration"].form)]
Limit = Annotated[float | None, Field(description=SIDES["limit"].form)]
Noise = Annotated[float | None, Field(description=SIDES["noise"].form)]
CarryLabels = Annotated[bool, Field(description="Copy the image's labels, enlarged by nearest neighbour.")]
CarryTables = Annotated[bool, Field(description="Copy tables of regions (ROI tables), which are in physical units.")]
