"""The kernel of `fused_mlp`. Importing Triton takes a second: only what runs the kernel imports this."""

import triton
import triton.language as tl

__all__ = ["block_end_kernel"]


@triton.jit  # type: ignore[untyped-decorator]
def product(a, b, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of ``(m, k)`` and ``(n, k)``, accumulated in float32."""
    if HALF:
        found = tl.dot(a.to(tl.bfloat16), tl.trans(b.to(tl.bfloat16)))
    else:
        found = tl.dot(a, tl.trans(b), input_precision="ieee")
    return found


@triton.jit
def normed(y, real, gain, offset, dim, eps):  # type: ignore[no-untyped-def]
    """LayerNorm of the rows of ``y``, whose columns that are not ``real`` are 0."""
    mean = tl.sum(y, 1) / dim
    gap = tl.where(real[None, :], y - mean[:, None], 0.0)
    factor = 1.0 / tl.sqrt(tl.sum(gap * gap, 1) / dim + eps)
    return gap * factor[:, None] * gain[None, :] + offset[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def block_end_kernel(  # type: ignore[no-untyped-def]
    x, attended, out, pixels, proj, proj_bias, fc1, fc1_bias, fc2, fc2_bias, gain1, offset1, gain2, offset2,
    dim, hidden, eps,
    POST: tl.constexpr, HALF: tl.constexpr, PIXELS: tl.constexpr, DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    column, part = tl.arange(0, DIM), tl.arange(0, PART)
    real, there = column < dim, row < pixels
    whole = there[:, None] & real[None, :]
    place = row[:, None] * dim + column[None, :]
    # attended . proj^T, a part of the channels at a time: (PIXELS, PART) . (DIM, PART)^T
    u = tl.zeros((PIXELS, DIM), tl.float32)
    for first in range(0, dim, PART):
        some = first + part < dim
        a = tl.load(attended + row[:, None] * dim + (first + part)[None, :], mask=there[:, None] & some, other=0.0)
        w = tl.load(proj + column[:, None] * dim + (first + part)[None, :], mask=real[:, None] & some, other=0.0)
        u += product(a.to(tl.float32), w.to(tl.float32), HALF)
    u += tl.load(proj_bias + column, mask=real, other=0.0).to(tl.float32)[None, :]
    first_gain = tl.load(gain1 + column, mask=real, other=0.0).to(tl.float32)
    first_offset = tl.load(offset1 + column, mask=real, other=0.0).to(tl.float32)
    gain = tl.load(gain2 + column, mask=real, other=0.0).to(tl.float32)
    offset = tl.load(offset2 + column, mask=real, other=0.0).to(tl.float32)
    if POST:
        u = normed(u, real, first_gain, first_offset, dim, eps)
    u += tl.load(x + place, mask=whole, other=0.0).to(tl.float32)
    z = u
    if not POST:
        z = normed(u, real, gain, offset, dim, eps)
    # The hidden features, a part at a time: each goes into the second product at once.
    m = tl.zeros((PIXELS, DIM), tl.float32)
    for first in range(0, hidden, PART):
        some = first + part < hidden
        w = tl.load(fc1 + (first + part)[:, None] * dim + column[None, :], mask=some[:, None] & real, other=0.0)
        h = product(z, w.to(tl.float32), HALF)
        h += tl.load(fc1_bias + first + part, mask=some, other=0.0).to(tl.float32)[None, :]
        h = 0.5 * h * (1.0 + tl.erf(h * 0.7071067811865476))
        w = tl.load(fc2 + column[:, None] * hidden + (first + part)[None, :], mask=real[:, None] & some, other=0.0)
        m += product(h, w.to(tl.float32), HALF)
    m += tl.load(fc2_bias + column, mask=real, other=0.0).to(tl.float32)[None, :]
    if POST:
        m = normed(m, real, gain, offset, dim, eps)
    tl.store(out + place, (u + m).to(out.dtype.element_ty), mask=whole)
