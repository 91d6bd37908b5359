"""Take the intensity range of a finished output: ``range="like:x2.ome.zarr"``."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.pixels.intensity import RangeRequest

__all__ = ["resolved_range"]


def resolved_range(request: RangeRequest, array: str | None = None) -> RangeRequest:
    """Replace the address of a finished output by the values in its provenance; return other requests as they are.

    The values, not the address, are then part of a run's identity.

    Parameters
    ----------
    request : RangeRequest
    array : str, optional
        Path of the image in an archive: the output may be an archive with the same paths.

    Raises
    ------
    RequestError
        If there is no finished output of this program, or it does not say its range.
    """
    if request.kind != "like":
        return request
    found = _maps(request.output) or (_maps(f"{request.output.rstrip('/')}/{array}") if array else None)
    if not found:
        raise RequestError(
            f"range={str(request)!r} names no finished output of this program that says its intensity range: give the"
            " output of a finished run, or two values."
        )
    return RangeRequest.of_channels([(float(one["lo"]), float(one["hi"])) for one in found])


def _maps(output: str) -> list[dict[str, Any]] | None:
    try:
        found = read_provenance(output)
    except (FormatError, OSError):
        return None
    settings = (found or {}).get("settings")
    maps = settings.get("intensity") if isinstance(settings, dict) else None
    whole = isinstance(maps, list) and all(isinstance(one, dict) and {"lo", "hi"} <= set(one) for one in maps)
    return maps if whole and maps else None
