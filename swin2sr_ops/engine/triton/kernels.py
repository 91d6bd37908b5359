"""Define the kernels of `fused`; importing Triton takes a second, so only code that runs them imports this module.

Numbers of channels are constants: if they are known multiples of 4, 8 or 16 bytes are moved at a time. A tile's
position and size are not constants: Triton would compile another kernel for numbers that are 1 or multiples of 16,
whose sums may be ordered differently, and a result would depend on the tile. So each plane is passed as the address of
its first pixel, whose alignment is always the same, with the index of the first pixel to process.
"""

import triton
import triton.language as tl

#: Arguments that depend on the tile.
_OF_TILES = (
    "begin", "width", "across", "above", "before", "rows", "columns", "top", "bottom", "left", "right",
)  # fmt: skip

__all__ = [
    "attention_kernel", "block_end_kernel", "entrance_kernel", "head_kernel", "stage_end_kernel", "trunk_end_kernel",
]  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def product(a, b, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """Multiply ``(m, k)`` by ``(n, k)`` in ``bf16``, ``tf32`` or ``ieee`` (full float32); accumulate in float32."""
    if PRECISION == "bf16":
        found = tl.dot(a.to(tl.bfloat16), tl.trans(b.to(tl.bfloat16)))
    else:
        found = tl.dot(a, tl.trans(b), input_precision=PRECISION)
    return found


@triton.jit
def normed(y, real, gain, offset, dim, eps):  # type: ignore[no-untyped-def]
    """Apply LayerNorm to the rows of ``y``, whose columns outside ``real`` are 0."""
    mean = tl.sum(y, 1) / dim
    gap = tl.where(real[None, :], y - mean[:, None], 0.0)
    factor = 1.0 / tl.sqrt(tl.sum(gap * gap, 1) / dim + eps)
    return gap * factor[:, None] * gain[None, :] + offset[None, :]


@triton.jit
def numbers(pointer, index, real):  # type: ignore[no-untyped-def]
    """Load a vector in float32, 0 outside ``real``."""
    return tl.load(pointer + index, mask=real, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def place_of(window, pixel, begin, across, width, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Compute the index in the plane of a window's pixel."""
    y, x = window // across * WINDOW + pixel // WINDOW, window % across * WINDOW + pixel % WINDOW
    return begin + y * width + x


@triton.jit  # type: ignore[untyped-decorator]
def within(window, pixel, across, top, bottom, left, right, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Compute which pixels of a window are inside the image."""
    y, x = (window // across) * WINDOW + pixel // WINDOW, (window % across) * WINDOW + pixel % WINDOW
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


@triton.jit(do_not_specialize=_OF_TILES)  # type: ignore[untyped-decorator]
def attention_kernel(  # type: ignore[no-untyped-def]
    plane, out, qkv, qkv_bias, bias, scales, gain, offset,
    begin, width, across, top, bottom, left, right, eps, dim: tl.constexpr, heads: tl.constexpr,
    V2: tl.constexpr, PRECISION: tl.constexpr, WINDOW: tl.constexpr, ROWS: tl.constexpr, SIZE: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute one head of one window from the plane: ``(windows, P, C)`` before the projection."""
    window, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, column, part = tl.arange(0, ROWS), tl.arange(0, SIZE), tl.arange(0, PART)
    size = dim // heads
    there, real = row < WINDOW * WINDOW, column < size
    pixels = plane + (place_of(window, row, begin, across, width, WINDOW) * dim)[:, None]
    mean, factor = tl.zeros((ROWS,), tl.float32), tl.full((ROWS,), 1.0, tl.float32)
    if not V2:  # SwinIR normalises first
        whole = tl.arange(0, DIM)
        values = tl.load(pixels + whole[None, :], mask=there[:, None] & (whole < dim)[None, :], other=0.0)
        values = values.to(tl.float32)
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
        a = tl.load(pixels + at[None, :], mask=there[:, None] & some[None, :], other=0.0).to(tl.float32)
        if not V2:
            a = (a - mean[:, None]) * factor[:, None] * numbers(gain, at, some)[None, :]
            a += numbers(offset, at, some)[None, :]
        weight, known = qkv + first_row + at[None, :], real[:, None] & some[None, :]
        q += product(a, tl.load(weight, mask=known, other=0.0).to(tl.float32), PRECISION)
        k += product(a, tl.load(weight + dim * dim, mask=known, other=0.0).to(tl.float32), PRECISION)
        v += product(a, tl.load(weight + 2 * dim * dim, mask=known, other=0.0).to(tl.float32), PRECISION)
    q += numbers(qkv_bias, head * size + column, real)[None, :]
    k += numbers(qkv_bias, dim + head * size + column, real)[None, :]
    v += numbers(qkv_bias, 2 * dim + head * size + column, real)[None, :]
    if V2:
        q = q / tl.maximum(tl.sqrt(tl.sum(q * q, 1)), 1e-12)[:, None]
        k = k / tl.maximum(tl.sqrt(tl.sum(k * k, 1)), 1e-12)[:, None]
    logits = product(q * tl.load(scales + head), k, PRECISION)
    pairs = there[:, None] & there[None, :]
    logits += numbers(bias, (head * WINDOW * WINDOW + row[:, None]) * WINDOW * WINDOW + row[None, :], pairs)
    # Pixels outside the image are hidden from attention.
    seen = there & within(window, row, across, top, bottom, left, right, WINDOW)
    logits = tl.where(seen[None, :], logits, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    result = product(weights, tl.trans(v), PRECISION)
    target = (window * WINDOW * WINDOW + row)[:, None] * dim + (head * size + column)[None, :]
    tl.store(out + target, result.to(out.dtype.element_ty), mask=there[:, None] & real[None, :])


@triton.jit(do_not_specialize=_OF_TILES)  # type: ignore[untyped-decorator]
def block_end_kernel(  # type: ignore[no-untyped-def]
    plane, source, attended, proj, proj_bias, fc1, fc1_bias, fc2, fc2_bias, gain1, offset1, gain2, offset2,
    begin, width, across, top, bottom, left, right, eps, dim: tl.constexpr, hidden: tl.constexpr,
    V2: tl.constexpr, PRECISION: tl.constexpr, WINDOW: tl.constexpr, ROWS: tl.constexpr, PIXELS: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute everything after attention for some pixels of a window: projection, norms, MLP, both residuals.

    A window has `ROWS` rows; the last may lie outside, so that each pixel has a fixed position in a program.
    ``plane`` and ``source`` are the same plane, changed in place: as one argument the compiler would keep more in
    registers.
    """
    at = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    window, pixel = at // ROWS, at % ROWS
    column, part = tl.arange(0, DIM), tl.arange(0, PART)
    real, there = column < dim, pixel < WINDOW * WINDOW
    row = window * WINDOW * WINDOW + pixel
    place = (place_of(window, pixel, begin, across, width, WINDOW) * dim)[:, None] + column[None, :]
    # attended . proj^T, a part of the channels at a time: (PIXELS, PART) . (DIM, PART)^T
    u = tl.zeros((PIXELS, DIM), tl.float32)
    for first in range(0, dim, PART):
        some = first + part < dim
        a = tl.load(attended + row[:, None] * dim + (first + part)[None, :], mask=there[:, None] & some, other=0.0)
        w = tl.load(proj + column[:, None] * dim + (first + part)[None, :], mask=real[:, None] & some, other=0.0)
        u += product(a.to(tl.float32), w.to(tl.float32), PRECISION)
    u += numbers(proj_bias, column, real)[None, :]
    gain, offset = numbers(gain2, column, real), numbers(offset2, column, real)
    if V2:
        u = normed(u, real, numbers(gain1, column, real), numbers(offset1, column, real), dim, eps)
    u += tl.load(source + place, mask=there[:, None] & real[None, :], other=0.0).to(tl.float32)
    z = u
    if not V2:
        z = normed(u, real, gain, offset, dim, eps)
    # Compute the hidden features in parts, and use each part in the second product at once.
    m = tl.zeros((PIXELS, DIM), tl.float32)
    for first in range(0, hidden, PART):
        some = first + part < hidden
        w = tl.load(fc1 + (first + part)[:, None] * dim + column[None, :], mask=some[:, None] & real, other=0.0)
        h = product(z, w.to(tl.float32), PRECISION)
        h += numbers(fc1_bias, first + part, some)[None, :]
        h = 0.5 * h * (1.0 + tl.erf(h * 0.7071067811865476))
        w = tl.load(fc2 + column[:, None] * hidden + (first + part)[None, :], mask=real[:, None] & some, other=0.0)
        m += product(h, w.to(tl.float32), PRECISION)
    m += numbers(fc2_bias, column, real)[None, :]
    if V2:
        m = normed(m, real, gain, offset, dim, eps)
    # Planes stay zero outside the image.
    kept = there & within(window, pixel, across, top, bottom, left, right, WINDOW)
    tl.store(plane + place, (u + m).to(plane.dtype.element_ty), mask=kept[:, None] & real[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def convolved(  # type: ignore[no-untyped-def]
    source, begin, y, x, there, width, top, bottom, left, right, conv, conv_bias, gain, offset, eps,
    inputs: tl.constexpr, outputs: tl.constexpr, NORM: tl.constexpr, PRECISION: tl.constexpr, PIXELS: tl.constexpr,
    IN: tl.constexpr, OUT: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute a 3x3 convolution for some pixels of a plane of ``width`` columns; of its LayerNorm, if ``NORM``.

    ``conv`` is ``(3, 3, outputs, inputs)``: the tap first, then the output channel. Outside the image planes
    are zero, and so is their norm.
    """
    column, part, whole = tl.arange(0, OUT), tl.arange(0, PART), tl.arange(0, IN)
    u = tl.zeros((PIXELS, OUT), tl.float32)
    for tap in range(9):
        row, at = y + tap // 3 - 1, x + tap % 3 - 1
        pixels = source + ((begin + row * width + at) * inputs)[:, None]
        seen = there
        if NORM:
            seen = there & (row >= top) & (row < bottom) & (at >= left) & (at < right)
            values = tl.load(pixels + whole[None, :], mask=seen[:, None] & (whole < inputs)[None, :], other=0.0)
            values = values.to(tl.float32)
            mean = tl.sum(values, 1) / inputs
            gap = tl.where((whole < inputs)[None, :], values - mean[:, None], 0.0)
            factor = 1.0 / tl.sqrt(tl.sum(gap * gap, 1) / inputs + eps)
        for first in range(0, inputs, PART):
            some = first + part < inputs
            a = tl.load(pixels + (first + part)[None, :], mask=seen[:, None] & some[None, :], other=0.0).to(tl.float32)
            if NORM:
                a = (a - mean[:, None]) * factor[:, None] * numbers(gain, first + part, some)[None, :]
                a = tl.where(seen[:, None], a + numbers(offset, first + part, some)[None, :], 0.0)
            w = conv + (tap * outputs + column)[:, None] * inputs + (first + part)[None, :]
            w = tl.load(w, mask=(column < outputs)[:, None] & some[None, :], other=0.0)
            u += product(a, w.to(tl.float32), PRECISION)
    return u + numbers(conv_bias, column, column < outputs)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def embedded(  # type: ignore[no-untyped-def]
    u, weight, bias, first, dim: tl.constexpr, PRECISION: tl.constexpr, DIM: tl.constexpr, PART: tl.constexpr
):
    """Compute the channels from ``first`` on of a linear layer of ``u``."""
    column, at = tl.arange(0, DIM), first + tl.arange(0, PART)
    w = weight + at[:, None] * dim + column[None, :]
    w = tl.load(w, mask=(at < dim)[:, None] & (column < dim)[None, :], other=0.0)
    return product(u, w.to(tl.float32), PRECISION) + numbers(bias, at, at < dim)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def rectangle(across, above, before, HIGH: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return rows and columns of this program's `HIGH` x `WIDE` pixels, on the image's grid.

    The first of ``across`` adjacent rectangles starts ``above`` rows and ``before`` columns before the first
    pixel.
    """
    block, pixel = tl.program_id(0).to(tl.int64), tl.arange(0, HIGH * WIDE)
    return block // across * HIGH + pixel // WIDE - above, block % across * WIDE + pixel % WIDE - before


@triton.jit(do_not_specialize=_OF_TILES)  # type: ignore[untyped-decorator]
def entrance_kernel(  # type: ignore[no-untyped-def]
    source, features, target, conv, conv_bias, embed, embed_bias, gain, offset,
    begin, width, across, above, before, rows, columns, slope, eps, inputs: tl.constexpr, dim: tl.constexpr,
    NORM: tl.constexpr, EMBED: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr, HIGH: tl.constexpr,
    WIDE: tl.constexpr, DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute ``features = leaky_relu(conv3x3(source))`` and ``target = norm(embed(features))`` for one `rectangle`.

    ``features`` are stored if ``KEEP``.
    If the result of a linear layer is normalised, its weights and bias already have mean 0 over the channels.
    """
    y, x = rectangle(across, above, before, HIGH, WIDE)
    there = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    column, part = tl.arange(0, DIM), tl.arange(0, PART)
    u = convolved(
        source, begin, y, x, there, width, 0, 0, 0, 0, conv, conv_bias, gain, offset, eps, inputs, dim,
        False, PRECISION, HIGH * WIDE, PART, DIM, PART,
    )  # fmt: skip
    u = tl.where(u > 0, u, u * slope)
    place, kept = ((begin + y * width + x) * dim)[:, None], there[:, None] & (column < dim)[None, :]
    if KEEP:
        tl.store(features + place + column[None, :], u, mask=kept)
    if EMBED:
        factor = tl.full((HIGH * WIDE,), 1.0, tl.float32)
        if NORM:
            square = tl.zeros((HIGH * WIDE,), tl.float32)
            for first in range(0, dim, PART):
                e = embedded(u, embed, embed_bias, first, dim, PRECISION, DIM, PART)
                square += tl.sum(e * e, 1)
            factor = 1.0 / tl.sqrt(square / dim + eps)
        for first in range(0, dim, PART):
            at = first + part
            e = embedded(u, embed, embed_bias, first, dim, PRECISION, DIM, PART)
            if NORM:
                e = e * factor[:, None] * numbers(gain, at, at < dim)[None, :] + numbers(offset, at, at < dim)[None, :]
            tl.store(
                target + place + at[None, :], e.to(target.dtype.element_ty), mask=there[:, None] & (at < dim)[None, :]
            )
    else:
        if NORM:
            real = column < dim
            u = normed(u, real, numbers(gain, column, real), numbers(offset, column, real), dim, eps)
        tl.store(target + place + column[None, :], u.to(target.dtype.element_ty), mask=kept)


@triton.jit(do_not_specialize=_OF_TILES)  # type: ignore[untyped-decorator]
def stage_end_kernel(  # type: ignore[no-untyped-def]
    source, target, conv, conv_bias, embed, embed_bias, begin, width, across, above, before, rows, columns,
    dim: tl.constexpr, EMBED: tl.constexpr, PRECISION: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute ``target += embed(conv3x3(source))`` for one `rectangle`."""
    y, x = rectangle(across, above, before, HIGH, WIDE)
    there = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    column, part = tl.arange(0, DIM), tl.arange(0, PART)
    u = convolved(
        source, begin, y, x, there, width, 0, 0, 0, 0, conv, conv_bias, conv, conv, 0.0, dim, dim,
        False, PRECISION, HIGH * WIDE, DIM, DIM, PART,
    )  # fmt: skip
    place = ((begin + y * width + x) * dim)[:, None]
    if EMBED:
        for first in range(0, dim, PART):
            at = first + part
            e = embedded(u, embed, embed_bias, first, dim, PRECISION, DIM, PART)
            to, kept = target + place + at[None, :], there[:, None] & (at < dim)[None, :]
            e += tl.load(to, mask=kept, other=0.0).to(tl.float32)
            tl.store(to, e.to(target.dtype.element_ty), mask=kept)
    else:
        to, kept = target + place + column[None, :], there[:, None] & (column < dim)[None, :]
        u += tl.load(to, mask=kept, other=0.0).to(tl.float32)
        tl.store(to, u.to(target.dtype.element_ty), mask=kept)


@triton.jit(do_not_specialize=_OF_TILES)  # type: ignore[untyped-decorator]
def trunk_end_kernel(  # type: ignore[no-untyped-def]
    source, image, target, conv, conv_bias, entrance, entrance_bias, gain, offset,
    begin, width, across, above, before, rows, columns, top, bottom, left, right, slope, eps,
    inputs: tl.constexpr, dim: tl.constexpr, PRECISION: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute ``target = conv3x3(norm(source)) + leaky_relu(conv3x3(image))`` for one `rectangle`.

    The second term is the trunk's first features: recomputing them costs a few products, and saves a plane in
    float32 during the trunk.
    """
    y, x = rectangle(across, above, before, HIGH, WIDE)
    there = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    first = convolved(
        image, begin, y, x, there, width, 0, 0, 0, 0, entrance, entrance_bias, gain, offset, eps, inputs, dim,
        False, PRECISION, HIGH * WIDE, PART, DIM, PART,
    )  # fmt: skip
    u = convolved(
        source, begin, y, x, there, width, top, bottom, left, right, conv, conv_bias, gain, offset, eps, dim, dim,
        True, PRECISION, HIGH * WIDE, DIM, DIM, PART,
    )  # fmt: skip
    u += tl.where(first > 0, first, first * slope)
    column = tl.arange(0, DIM)
    to = target + ((begin + y * width + x) * dim)[:, None] + column[None, :]
    tl.store(to, u, mask=there[:, None] & (column < dim)[None, :])


@triton.jit(do_not_specialize=_OF_TILES)  # type: ignore[untyped-decorator]
def head_kernel(  # type: ignore[no-untyped-def]
    source, image, target, conv, conv_bias,
    begin, width, across, above, before, rows, columns,
    dim: tl.constexpr, channels: tl.constexpr, scale: tl.constexpr, ADD: tl.constexpr, PRECISION: tl.constexpr,
    HIGH: tl.constexpr, WIDE: tl.constexpr, OUT: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Compute ``target = pixel_shuffle(conv3x3(source))`` for one `rectangle`, for scale 1 ``conv3x3(source) + image``.

    ``target`` is ``(channels, rows scale, columns scale)``.
    """
    y, x = rectangle(across, above, before, HIGH, WIDE)
    there = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    outputs: tl.constexpr = channels * scale * scale
    column = tl.arange(0, OUT)
    u = convolved(
        source, begin, y, x, there, width, 0, 0, 0, 0, conv, conv_bias, conv, conv, 0.0, dim, outputs,
        False, PRECISION, HIGH * WIDE, PART, OUT, PART,
    )  # fmt: skip
    kept = there[:, None] & (column < outputs)[None, :]
    if ADD:
        u += tl.load(image + ((begin + y * width + x) * channels)[:, None] + column[None, :], mask=kept, other=0.0)
    channel, fine = column // (scale * scale), column % (scale * scale)
    line = (channel * rows * scale + fine // scale)[None, :] + (y * scale)[:, None]
    tl.store(target + line * columns * scale + (fine % scale)[None, :] + (x * scale)[:, None], u, mask=kept)
