"""What is drawn of the result lies on what is drawn of the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.napari_plugin.conftest import finish


def picture_of(viewer: Any, layer: Any) -> np.ndarray:
    """Which canvas pixels are bright with only ``layer`` visible."""
    for other in viewer.layers:
        other.visible = other is layer or other == layer
    picture = viewer.screenshot(canvas_only=True, flash=False)
    return picture[..., 0].astype(int) > 127


@pytest.mark.parametrize(
    "more",
    [{}, {"scale": (0.5, 1.5), "translate": (3, 8)}, {"rotate": 25, "affine": [[1, 0.3, 4], [0, 0.8, 1], [0, 0, 1]]}],
    ids=["plain", "scale", "affine"],
)
@pytest.mark.usefixtures("drawn")
def test_source_and_result_coincide(widget: Any, viewer: Any, qtbot: Any, more: dict[str, Any]) -> None:
    image = np.zeros((60, 80), "uint8")
    image[20:40, 30:60] = 255
    source = viewer.add_image(image, contrast_limits=(0, 255), **more)
    result = finish(widget, qtbot, model="tiny-x2-gray")
    viewer.reset_view()
    before, after = picture_of(viewer, source), picture_of(viewer, result)
    assert before.sum() > 500
    both, either = (before & after).sum(), (before | after).sum()
    assert both / either > 0.93
    for axis in (0, 1):  # half a source pixel would be several pixels of the canvas
        middles = [np.nonzero(mask)[axis].mean() for mask in (before, after)]
        assert abs(middles[0] - middles[1]) < 0.5
    for share in ((0, 0), (1, 1), (0.5, 0.5)):
        here, there = (np.array(n) * share - 0.5 for n in (image.shape, result.data.shape))
        np.testing.assert_allclose(result.data_to_world(there), source.data_to_world(here), atol=1e-9)
