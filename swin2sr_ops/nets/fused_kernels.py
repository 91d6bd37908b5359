"""The kernels of `fused`. Importing Triton takes a second: only what runs them imports this."""

import triton
import triton.language as tl

__all__ = ["attention_kernel", "block_end_kernel", "stage_end_kernel"]


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


@triton.jit
def numbers(pointer, index, real):  # type: ignore[no-untyped-def]
    """A vector in float32, 0 where it is not ``real``."""
    return tl.load(pointer + index, mask=real, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def first_of(window, across, stride, dim, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where a window begins."""
    return (window // across) * WINDOW * stride + (window % across) * WINDOW * dim


@triton.jit  # type: ignore[untyped-decorator]
def within(window, pixel, across, top, bottom, left, right, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which pixels of a window are the image's."""
    y, x = (window // across) * WINDOW + pixel // WINDOW, (window % across) * WINDOW + pixel % WINDOW
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


@triton.jit  # type: ignore[untyped-decorator]
def attention_kernel(  # type: ignore[no-untyped-def]
    plane, out, qkv, qkv_bias, bias, scales, gain, offset,
    stride, across, top, bottom, left, right, dim, heads, eps,
    V2: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, ROWS: tl.constexpr, SIZE: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """One head of one window, from the plane: ``(windows, P, C)`` before the projection."""
    window, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, column, part = tl.arange(0, ROWS), tl.arange(0, SIZE), tl.arange(0, PART)
    size = dim // heads
    there, real = row < WINDOW * WINDOW, column < size
    begin = plane + first_of(window, across, stride, dim, WINDOW)
    begin += ((row // WINDOW) * stride + (row % WINDOW) * dim)[:, None]
    mean, factor = tl.zeros((ROWS,), tl.float32), tl.full((ROWS,), 1.0, tl.float32)
    if not V2:  # SwinIR normalises first
        whole = tl.arange(0, DIM)
        values = tl.load(begin + whole[None, :], mask=there[:, None] & (whole < dim)[None, :], other=0.0).to(tl.float32)
        mean = tl.sum(values, 1) / dim
        gap = tl.where((whole < dim)[None, :], values - mean[:, None], 0.0)
        factor = 1.0 / tl.sqrt(tl.sum(gap * gap, 1) / dim + eps)
    q = tl.zeros((ROWS, SIZE), tl.float32)
    k = tl.zeros((ROWS, SIZE), tl.float32)
    v = tl.zeros((ROWS, SIZE), tl.float32)
    first_row = (head * size + column)[:, None] * dim
    for first in range(0, dim, PART):
        at = first + part
        some = at < dim
        a = tl.load(begin + at[None, :], mask=there[:, None] & some[None, :], other=0.0).to(tl.float32)
        if not V2:
            a = (a - mean[:, None]) * factor[:, None] * numbers(gain, at, some)[None, :]
            a += numbers(offset, at, some)[None, :]
        weight, known = qkv + first_row + at[None, :], real[:, None] & some[None, :]
        q += product(a, tl.load(weight, mask=known, other=0.0).to(tl.float32), HALF)
        k += product(a, tl.load(weight + dim * dim, mask=known, other=0.0).to(tl.float32), HALF)
        v += product(a, tl.load(weight + 2 * dim * dim, mask=known, other=0.0).to(tl.float32), HALF)
    q += numbers(qkv_bias, head * size + column, real)[None, :]
    k += numbers(qkv_bias, dim + head * size + column, real)[None, :]
    v += numbers(qkv_bias, 2 * dim + head * size + column, real)[None, :]
    if V2:
        q = q / tl.maximum(tl.sqrt(tl.sum(q * q, 1)), 1e-12)[:, None]
        k = k / tl.maximum(tl.sqrt(tl.sum(k * k, 1)), 1e-12)[:, None]
    logits = product(q * tl.load(scales + head), k, HALF)
    pairs = there[:, None] & there[None, :]
    logits += numbers(bias, (head * WINDOW * WINDOW + row[:, None]) * WINDOW * WINDOW + row[None, :], pairs)
    # No pixel looks at one outside the image.
    seen = there & within(window, row, across, top, bottom, left, right, WINDOW)
    logits = tl.where(seen[None, :], logits, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    result = product(weights, tl.trans(v), HALF)
    target = (window * WINDOW * WINDOW + row)[:, None] * dim + (head * size + column)[None, :]
    tl.store(out + target, result.to(out.dtype.element_ty), mask=there[:, None] & real[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def block_end_kernel(  # type: ignore[no-untyped-def]
    plane, source, attended, proj, proj_bias, fc1, fc1_bias, fc2, fc2_bias, gain1, offset1, gain2, offset2,
    stride, across, top, bottom, left, right, dim, hidden, eps,
    V2: tl.constexpr, HALF: tl.constexpr, WINDOW: tl.constexpr, ROWS: tl.constexpr, PIXELS: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """What follows attention, for some pixels of a window: projection, norms, MLP, both residuals.

    A window has `ROWS` rows, of which the last may be no pixels: each pixel has its place in a program. ``plane`` and
    ``source`` are one plane, changed in place: given as one argument the compiler would keep more in memory.
    """
    at = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    window, pixel = at // ROWS, at % ROWS
    column, part = tl.arange(0, DIM), tl.arange(0, PART)
    real, there = column < dim, pixel < WINDOW * WINDOW
    row = window * WINDOW * WINDOW + pixel
    place = first_of(window, across, stride, dim, WINDOW) + (pixel // WINDOW) * stride + (pixel % WINDOW) * dim
    place = place[:, None] + column[None, :]
    # attended . proj^T, a part of the channels at a time: (PIXELS, PART) . (DIM, PART)^T
    u = tl.zeros((PIXELS, DIM), tl.float32)
    for first in range(0, dim, PART):
        some = first + part < dim
        a = tl.load(attended + row[:, None] * dim + (first + part)[None, :], mask=there[:, None] & some, other=0.0)
        w = tl.load(proj + column[:, None] * dim + (first + part)[None, :], mask=real[:, None] & some, other=0.0)
        u += product(a.to(tl.float32), w.to(tl.float32), HALF)
    u += numbers(proj_bias, column, real)[None, :]
    gain, offset = numbers(gain2, column, real), numbers(offset2, column, real)
    if V2:
        u = normed(u, real, numbers(gain1, column, real), numbers(offset1, column, real), dim, eps)
    u += tl.load(source + place, mask=there[:, None] & real[None, :], other=0.0).to(tl.float32)
    z = u
    if not V2:
        z = normed(u, real, gain, offset, dim, eps)
    # The hidden features, a part at a time: each goes into the second product at once.
    m = tl.zeros((PIXELS, DIM), tl.float32)
    for first in range(0, hidden, PART):
        some = first + part < hidden
        w = tl.load(fc1 + (first + part)[:, None] * dim + column[None, :], mask=some[:, None] & real, other=0.0)
        h = product(z, w.to(tl.float32), HALF)
        h += numbers(fc1_bias, first + part, some)[None, :]
        h = 0.5 * h * (1.0 + tl.erf(h * 0.7071067811865476))
        w = tl.load(fc2 + column[:, None] * hidden + (first + part)[None, :], mask=real[:, None] & some, other=0.0)
        m += product(h, w.to(tl.float32), HALF)
    m += numbers(fc2_bias, column, real)[None, :]
    if V2:
        m = normed(m, real, gain, offset, dim, eps)
    # Outside planes are zero, and stay so.
    kept = there & within(window, pixel, across, top, bottom, left, right, WINDOW)
    tl.store(plane + place, (u + m).to(plane.dtype.element_ty), mask=kept[:, None] & real[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def stage_end_kernel(  # type: ignore[no-untyped-def]
    source, target, conv, conv_bias, embed, embed_bias,
    stride, across, above, before, rows, columns, dim,
    EMBED: tl.constexpr, HALF: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr, DIM: tl.constexpr,
    PART: tl.constexpr,
):  # fmt: skip
    """``target += embed(conv3x3(source))`` for one rectangle of `HIGH` x `WIDE` pixels, on a grid of the image's.

    The first of ``across`` rectangles beside each other begins ``above`` rows over and ``before`` columns before the
    first pixel. ``conv`` is ``(3, 3, C, C)``, by the tap, then by the channel that comes out.
    """
    block, pixel = tl.program_id(0).to(tl.int64), tl.arange(0, HIGH * WIDE)
    y, x = block // across * HIGH + pixel // WIDE - above, block % across * WIDE + pixel % WIDE - before
    there = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    column, part = tl.arange(0, DIM), tl.arange(0, PART)
    real = column < dim
    place = y * stride + x * dim
    u = tl.zeros((HIGH * WIDE, DIM), tl.float32)
    for tap in range(9):
        shifted = source + place + (tap // 3 - 1) * stride + (tap % 3 - 1) * dim
        for first in range(0, dim, PART):
            some = first + part < dim
            a = tl.load(shifted[:, None] + (first + part)[None, :], mask=there[:, None] & some[None, :], other=0.0)
            w = conv + (tap * dim + column)[:, None] * dim + (first + part)[None, :]
            w = tl.load(w, mask=real[:, None] & some[None, :], other=0.0)
            u += product(a.to(tl.float32), w.to(tl.float32), HALF)
    u += numbers(conv_bias, column, real)[None, :]
    if EMBED:
        for first in range(0, dim, PART):
            some = first + part < dim
            w = embed + (first + part)[:, None] * dim + column[None, :]
            w = tl.load(w, mask=some[:, None] & real[None, :], other=0.0)
            e = product(u, w.to(tl.float32), HALF) + numbers(embed_bias, first + part, some)[None, :]
            to, kept = target + place[:, None] + (first + part)[None, :], there[:, None] & some[None, :]
            e += tl.load(to, mask=kept, other=0.0).to(tl.float32)
            tl.store(to, e.to(target.dtype.element_ty), mask=kept)
    else:
        to, kept = target + place[:, None] + column[None, :], there[:, None] & real[None, :]
        u += tl.load(to, mask=kept, other=0.0).to(tl.float32)
        tl.store(to, u.to(target.dtype.element_ty), mask=kept)
