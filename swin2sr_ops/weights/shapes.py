"""The parameters of a Swin2SR or SwinIR network, by name and shape, without building it."""

from __future__ import annotations

from swin2sr_ops.spec import ModelSpec

__all__ = ["parameter_shapes"]

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(spec: ModelSpec) -> Shapes:
    """List the parameters of the network of ``spec`` under their official names, in the network's order."""
    dim, cosine = spec.dim, spec.architecture == "swin2sr"
    found = _conv("conv_first", spec.inputs, dim)
    if cosine:
        found |= _conv("patch_embed.proj", dim, dim, 1)
    if spec.patch_norm:
        found |= _norm("patch_embed.norm", dim)
    found |= _stages(spec, "layers")
    found |= _norm("norm", dim)
    found |= _residual_conv("conv_after_body", dim, spec.resi_connection)
    return found | _head(spec)


def _conv(path: str, inputs: int, outputs: int, side: int = 3) -> Shapes:
    return {f"{path}.weight": (outputs, inputs, side, side), f"{path}.bias": (outputs,)}


def _linear(path: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    return {f"{path}.weight": (outputs, inputs)} | ({f"{path}.bias": (outputs,)} if bias else {})


def _norm(path: str, dim: int) -> Shapes:
    return {f"{path}.weight": (dim,), f"{path}.bias": (dim,)}


def _stages(spec: ModelSpec, path: str) -> Shapes:
    found: Shapes = {}
    for i, (depth, heads) in enumerate(zip(spec.depths, spec.heads, strict=True)):
        for j in range(depth):
            found |= _block(spec, f"{path}.{i}.residual_group.blocks.{j}", heads)
        found |= _residual_conv(f"{path}.{i}.conv", spec.dim, spec.resi_connection)
        if spec.architecture == "swin2sr":
            found |= _conv(f"{path}.{i}.patch_embed.proj", spec.dim, spec.dim, 1)
    return found


def _block(spec: ModelSpec, path: str, heads: int) -> Shapes:
    dim, attn, hidden = spec.dim, f"{path}.attn", int(spec.dim * spec.mlp_ratio)
    found = _norm(f"{path}.norm1", dim)
    if spec.architecture == "swin2sr":
        found[f"{attn}.logit_scale"] = (heads, 1, 1)
        if spec.qkv_bias:
            found |= {f"{attn}.q_bias": (dim,), f"{attn}.v_bias": (dim,)}
        found |= _linear(f"{attn}.proj", dim, dim)
        found |= _linear(f"{attn}.cpb_mlp.0", 2, 512) | _linear(f"{attn}.cpb_mlp.2", 512, heads, False)
        found |= _linear(f"{attn}.qkv", dim, 3 * dim, False)
    else:
        found[f"{attn}.relative_position_bias_table"] = ((2 * spec.window - 1) ** 2, heads)
        found |= _linear(f"{attn}.proj", dim, dim) | _linear(f"{attn}.qkv", dim, 3 * dim, spec.qkv_bias)
    found |= _norm(f"{path}.norm2", dim)
    return found | _linear(f"{path}.mlp.fc1", dim, hidden) | _linear(f"{path}.mlp.fc2", hidden, dim)


def _residual_conv(path: str, dim: int, kind: str) -> Shapes:
    if kind == "1conv":
        return _conv(path, dim, dim)
    narrow = dim // 4
    return _conv(f"{path}.0", dim, narrow) | _conv(f"{path}.2", narrow, narrow, 1) | _conv(f"{path}.4", narrow, dim)


def _upsample(path: str, scale: int, feat: int) -> Shapes:
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    found: Shapes = {}
    for i, factor in enumerate(factors):
        found |= _conv(f"{path}.{2 * i}", feat, factor**2 * feat)
    return found


def _head(spec: ModelSpec) -> Shapes:
    dim, feat, channels, scale = spec.dim, spec.num_feat, spec.channels, spec.scale
    if spec.upsampler == "":
        return _conv("conv_last", dim, channels)
    if spec.upsampler == "pixelshuffledirect":
        return _conv("upsample.0", dim, scale**2 * channels)
    found = _conv("conv_before_upsample.0", dim, feat) | _conv("conv_last", feat, channels)
    if spec.upsampler == "nearest+conv":
        for i in range(1, scale.bit_length()):
            found |= _conv(f"conv_up{i}", feat, feat)
        return found | _conv("conv_hr", feat, feat)
    found |= _upsample("upsample", scale, feat)
    if spec.upsampler == "pixelshuffle_aux":
        found |= _conv("conv_bicubic", channels, feat) | _conv("conv_aux", feat, channels)
        found |= _conv("conv_after_aux.0", channels, feat)
    if spec.upsampler == "pixelshuffle_hf":
        found |= _stages(spec, "layers_hf")
        found |= _conv("conv_first_hf.0", feat, dim) | _conv("conv_after_body_hf", dim, dim)
        found |= _conv("conv_before_upsample_hf.0", dim, feat)
        found |= _upsample("upsample_hf", scale, feat) | _conv("conv_last_hf", feat, channels)
    return found
