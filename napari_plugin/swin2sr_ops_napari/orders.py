"""What the form asks for: checked before anything runs, and the output that a run fills."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np

from swin2sr_ops.errors import RequestError
from swin2sr_ops_napari.choices import needs_download
from swin2sr_ops_napari.disk_trust import DiskWithTrust
from swin2sr_ops_napari.form import Form
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.outputs import Disk, Lazy, Memory, Output
from swin2sr_ops_napari.request import Request

__all__ = ["checked", "output_of", "point_of"]


def checked(form: Form, layer: Any) -> tuple[LayerImage, Request]:
    """Return the image of ``layer``, and what the form asks to do with it.

    Raises
    ------
    Swin2SROpsError
        They do not fit, or the model's weights are not on this computer.
    """
    image = form.image(layer)
    request = form.request(layer)
    request.restorer(image)  # refuses what does not fit
    spec = request.spec(image)
    if needs_download(spec):
        raise RequestError(
            f"{spec.name} is not on this computer yet: press 'Download the model', or choose 'By the answers above' in"
            " the box 'Model' under Advanced."
        )
    return image, request


def output_of(viewer: napari.Viewer, form: Form, layer: Any) -> Output:
    """Return what a run of ``layer`` fills: memory, a lazy layer, or files; see `checked` for errors."""
    image, request = checked(form, layer)
    if form.output == "memory":
        return Memory(layer, image, request)
    if form.output == "lazy":
        return Lazy(layer, image, request, point_of(viewer, layer))
    others = [other for other in viewer.layers if isinstance(other, napari.layers.Image)]
    place = form.path(), form.replace.isChecked(), others
    if form.trust_box.isChecked():
        return DiskWithTrust(layer, image, request, *place, form.calibration(), point_of(viewer, layer))
    return Disk(layer, image, request, *place)


def point_of(viewer: napari.Viewer, layer: Any) -> tuple[float, ...]:
    """Return the pixel index that the viewer shows, along each axis of ``layer``."""
    return tuple(float(v) for v in np.round(layer.world_to_data(viewer.dims.point)))
