"""Write checkpoints like other programs, from small networks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from swin2sr_ops.nets.attention import relative_index
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec

TINY = ModelSpec(name="tiny", dim=12, depths=(2, 2), heads=(2, 2), num_feat=64, upsampler="pixelshuffledirect")
TINY_IR = replace(TINY, name="tiny-ir", architecture="swinir")


def random_network(spec: ModelSpec, seed: int = 0) -> SwinNet:
    """A network whose every parameter is random."""
    net = SwinNet(spec).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def parameters(spec: ModelSpec, seed: int = 0) -> dict[str, Tensor]:
    """The parameters of `random_network`."""
    return dict(random_network(spec, seed).state_dict())


def meta_parameters(spec: ModelSpec) -> dict[str, Tensor]:
    """Names and shapes alone, for networks of true size."""
    with torch.device("meta"):
        return dict(SwinNet(spec).state_dict())


def with_buffers(state: dict[str, Tensor], spec: ModelSpec, image_size: int = 0) -> dict[str, Tensor]:
    """Add the buffers that official files hold; ``image_size`` is the training size, 0 for 6 windows."""
    w = spec.window
    windows = ((image_size or 6 * w) // w) ** 2
    full = dict(state)
    for stage, depth in enumerate(spec.depths):
        for block in range(depth):
            prefix = f"layers.{stage}.residual_group.blocks.{block}."
            full[prefix + "attn.relative_position_index"] = relative_index(w)
            if spec.architecture == "swin2sr":
                full[prefix + "attn.relative_coords_table"] = torch.zeros(1, 2 * w - 1, 2 * w - 1, 2)
            if block % 2:
                full[prefix + "attn_mask"] = torch.zeros(
                    windows, w * w, w * w, device="meta" if windows > 64 else "cpu"
                )
    return full


_TO_HUGGING_FACE = (
    ("layers.", "encoder.stages."),
    (".residual_group.blocks.", ".layers."),
    (".patch_embed.proj.", ".patch_embed.projection."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.cpb_mlp.", ".attention.self.continuous_position_bias_mlp."),
    (".attn.q_bias", ".attention.self.query.bias"),
    (".attn.v_bias", ".attention.self.value.bias"),
    (".attn.", ".attention.self."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of the table in official.md, written down a second time on purpose (trunk only)."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("conv_first."):
            new = name.replace("conv_first.", "swin2sr.first_convolution.")
        elif name.startswith("patch_embed.proj."):
            new = name.replace("patch_embed.proj.", "swin2sr.embeddings.patch_embeddings.projection.")
        elif name.startswith("patch_embed.norm."):
            new = name.replace("patch_embed.norm.", "swin2sr.embeddings.patch_embeddings.layernorm.")
        elif name.startswith("norm."):
            new = "swin2sr.layernorm." + name[5:]
        elif name.startswith("conv_after_body."):
            new = "swin2sr." + name
        elif name.startswith("upsample.0."):
            new = name.replace("upsample.0.", "upsample.conv.")
        else:
            new = "swin2sr." + name
            for old, other in _TO_HUGGING_FACE:
                new = new.replace(old, other)
        if new.endswith(".qkv.weight"):
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[new.replace("qkv", part)] = piece.clone()
        else:
            renamed[new] = tensor
    return renamed
