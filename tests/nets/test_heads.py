"""Heads give exactly the same pixels on patches as on planes, at borders of the image too."""

from __future__ import annotations

import pytest
import torch

from swin2sr_ops.nets.heads import Patch, PatchOps, PlaneOps, before_upsample, reconstruct
from tests.conftest import random_net, small_spec

HEADS: dict[str, dict[str, int]] = {
    "": {"scale": 1},
    "pixelshuffledirect": {"scale": 2},
    "pixelshuffle": {"scale": 4},
    "nearest+conv": {"scale": 4},
    "pixelshuffle_aux": {"scale": 2, "channels": 3},
    "pixelshuffle_hf": {"scale": 2},
}
HEIGHT, WIDTH, MARGIN = 14, 11, 12


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("corner", [(0, 0), (5, 3), (8, 6)])
def test_a_patch_is_a_part_of_the_plane(kind: str, corner: tuple[int, int]) -> None:
    spec = small_spec(depths=(1,), heads=(2,), upsampler=kind, **HEADS[kind])
    net = random_net(spec).double()
    generator = torch.Generator().manual_seed(1)
    features, image, other = (
        torch.rand(1, channels, HEIGHT, WIDTH, dtype=torch.float64, generator=generator)
        for channels in (spec.dim, spec.channels, spec.dim)
    )
    ops = PatchOps(((0, HEIGHT), (0, WIDTH)))

    def around(plane: torch.Tensor, margin: int) -> Patch:
        """Return six by five pixels from a corner, with a margin that is zero outside the image."""
        padded = torch.nn.functional.pad(plane, (margin,) * 4)
        top, left = corner
        part = padded[..., top : top + 6 + 2 * margin, left : left + 5 + 2 * margin]
        return Patch(part.clone(), ((top - margin, left - margin),))

    with torch.inference_mode():
        hf = kind == "pixelshuffle_hf"
        whole_before = before_upsample(net, other, PlaneOps()) if hf else None
        whole = reconstruct(net, features, image, PlaneOps(), whole_before)
        before = before_upsample(net, around(other, MARGIN), ops) if hf else None
        patch = reconstruct(net, around(features, MARGIN), around(image, MARGIN), ops, before)
    assert whole.keys() == patch.keys()
    for name, found in patch.items():
        s, (y, x) = found.resolution, found.places[0]
        top, left = corner[0] * s, corner[1] * s
        bottom, right = min(corner[0] + 6, HEIGHT) * s, min(corner[1] + 5, WIDTH) * s
        part = found.data[..., top - y : bottom - y, left - x : right - x]
        torch.testing.assert_close(part, whole[name][..., top:bottom, left:right], rtol=0, atol=1e-12)


def test_pixels_outside_the_image_become_zero() -> None:
    ops = PatchOps(((0, 4), (0, 5)))
    patch = ops.blank(Patch(torch.ones(2, 1, 4, 4), ((-1, -2), (2, 3))))
    assert patch.data[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert patch.data[1, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
