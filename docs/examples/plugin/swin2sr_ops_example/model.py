"""A model family: unsharp masking, as a network of one convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swin2sr_ops import ModelSpec, hookimpl
from swin2sr_ops.spec import Reach

if TYPE_CHECKING:
    from torch import nn

UNSHARP = ModelSpec(
    name="unsharp-x1-gray",
    architecture="unsharp",  # ours: no other plugin builds it
    task="sharpen",
    scale=1,
    channels=1,
    window=1,
    reach=Reach(halo=1, exact=True),  # a 3x3 convolution sees one pixel around, and nothing farther
    licence="MIT",
    advice="Sharpens edges; invents nothing and removes no noise.",
)


@hookimpl
def swin2sr_ops_model_specs() -> list[ModelSpec]:
    """List the model."""
    return [UNSHARP]


@hookimpl
def swin2sr_ops_build_network(spec: ModelSpec) -> nn.Module | None:
    """Build the network of this model."""
    if spec.architecture != UNSHARP.architecture:
        return None  # the next plugin may know it
    import torch  # here, so that listing models stays fast
    from torch import nn

    net = nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
    blur = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    identity = torch.zeros(3, 3)
    identity[1, 1] = 1
    net.weight.data = (2 * identity - blur)[None, None]
    return net
