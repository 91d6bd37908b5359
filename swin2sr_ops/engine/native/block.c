/* A Swin block on windows of a plane, in place: what SwinBlock.tokens does, in float32.

   A window's features lie transposed, a row of PX numbers for each channel, so that a vector holds as many
   pixels: products then waste no lanes on 60 or 10 channels, and norms and the softmax never sum across lanes.
   Everything but the weights stays in the scratch of one window, which fits the second-level cache.

   Every window is computed alike, wherever it lies: the result does not depend on how the image is cut. */

#include "window.h"

/* x += y, or norm(y) */
static void add(const Block *b, float *x, const float *y, const float *gain, const float *offset)
{
    num px = row_of(b);
    for (num p = 0; p < px; p += LANES) {
        vec mean = {0}, power = {0};
        if (gain) {
            for (num c = 0; c < b->dim; c++) mean += load(y + c * px + p);
            mean /= (float)b->dim;
            for (num c = 0; c < b->dim; c++) {
                vec gap = load(y + c * px + p) - mean;
                power = fused(gap, gap, power);
            }
            power = 1.0f / root(power / (float)b->dim + b->eps);
        }
        for (num c = 0; c < b->dim; c++) {
            vec value = load(y + c * px + p);
            if (gain) value = fused((value - mean) * power, spread(gain[c]), spread(offset[c]));
            store(x + c * px + p, load(x + c * px + p) + value);
        }
    }
}

/* y = norm(x) */
static void norm(const Block *b, float *y, const float *x, const float *gain, const float *offset)
{
    memset(y, 0, sizeof(float) * b->dim * row_of(b));
    add(b, y, x, gain, offset);
}

/* qkv (3 dim, PX) -> out (dim, PX), head by head. */
static void attend(const Block *b, float *qkv, const unsigned char *hidden, float *logits, float *out)
{
    num px = row_of(b), keys = pixels_of(b), size = b->dim / b->heads;
    float inverse[px] __attribute__((aligned(64)));
    for (num h = 0; h < b->heads; h++) {
        float *q = qkv + h * size * px, *k = q + b->dim * px, *v = k + b->dim * px, *mine = out + h * size * px;
        if (b->cosine) {
            unit(q, size, px, b->scale[h], 0);
            unit(k, size, px, 1.0f, 0);
        } else {
            for (num i = 0; i < size * px; i++) q[i] *= b->scale[h];
        }
        multiply(ACROSS, (Matrix){k, 1, px, ROWS}, keys, size, q, px, b->bias + h * keys * px, px, logits);
        softmax(logits, keys, px, hidden, inverse);
        multiply(ACROSS, (Matrix){v, px, 1, ROWS * px}, size, keys, logits, px, 0, 0, mine);
        for (num d = 0; d < size; d++)
            for (num p = 0; p < px; p++) mine[d * px + p] *= inverse[p];
    }
}

static void linear(const float *weight, const float *bias, num rows, num columns, const float *x, num px, float *y)
{
    multiply(ACROSS, packed(weight, columns), rows, columns, x, px, bias, 0, y);
}

static void gelu(float *x, num count)
{
    for (num i = 0; i < count; i += LANES) {
        vec value = load(x + i);
        vec half = 0.5f * value;
        store(x + i, fused(half, error_function(value * 0.70710678118654752f), half));
    }
}

/* One window, x (dim, PX), in place. */
static void compute(const Block *b, float *x, const unsigned char *hidden, float *y, float *wide, float *logits)
{
    num px = row_of(b), dim = b->dim;
    const float *in = x;
    if (!b->post_norm) {
        norm(b, y, x, b->norm1, b->norm1_bias);
        in = y;
    }
    linear(b->qkv, b->qkv_bias, 3 * dim, dim, in, px, wide);
    attend(b, wide, hidden, logits, y);
    linear(b->proj, b->proj_bias, dim, dim, y, px, wide);
    add(b, x, wide, b->post_norm ? b->norm1 : 0, b->norm1_bias);
    in = x;
    if (!b->post_norm) {
        norm(b, y, x, b->norm2, b->norm2_bias);
        in = y;
    }
    linear(b->fc1, b->fc1_bias, b->hidden, dim, in, px, wide);
    gelu(wide, b->hidden * px);
    linear(b->fc2, b->fc2_bias, dim, b->hidden, wide, px, y);
    add(b, x, y, b->post_norm ? b->norm2 : 0, b->norm2_bias);
}

/* Numbers of scratch that `swin_block` wants. */
num swin_scratch(const Block *b)
{
    num px = row_of(b), wide = 3 * b->dim > b->hidden ? 3 * b->dim : b->hidden;
    return (2 * b->dim + wide + pixels_of(b)) * px;
}

/* Numbers in a row of scratch: the length of a row of `bias`. */
num swin_row(const Block *b) { return row_of(b); }

/* A window's pixels -> x (dim, PX). Line by line: zeros behind a line of 7 are written over by the next. */
static void fetch(const Block *b, const float *corner, num stride, float *x)
{
    num px = row_of(b), w = b->window, dim = b->dim;
    for (num i = 0; i < w; i++)
        for (num j = 0; j < w; j += 8)
            for (num c = 0; c < dim; c += 8)
                transpose(corner + i * stride + j * dim + c, dim, w - j < 8 ? w - j : 8, dim - c < 8 ? dim - c : 8,
                          x + c * px + i * w + j, px);
}

/* x (dim, PX) -> the window's pixels, those in `inside`. */
static void put(const Block *b, const float *x, Box inside, float *corner, num stride)
{
    num px = row_of(b), w = b->window, dim = b->dim;
    for (num i = inside.top; i < inside.bottom; i++)
        for (num c = 0; c < dim; c += 8) {
            const float *from = x + c * px + i * w;
            float *to = corner + i * stride + c;
            if (w == 8 && dim - c >= 8 && inside.left == 0 && inside.right == 8)
                transpose(from, px, 8, 8, to, dim);
            else
                for (num j = inside.left; j < inside.right; j++)
                    for (num k = 0; k < 8 && c + k < dim; k++) to[j * dim + k] = from[k * px + j];
        }
}

static Box part(const Box *of, num top, num left, num side)
{
    Box found = {of->top - top, of->bottom - top, of->left - left, of->right - left};
    if (found.top < 0) found.top = 0;
    if (found.left < 0) found.left = 0;
    if (found.bottom > side) found.bottom = side;
    if (found.right > side) found.right = side;
    return found;
}

/* `down` x `across` windows of which the first begins at `first`; `stride` numbers from a line of pixels to the next.
   inside: the image's rows and columns, counted from there. No pixel looks at one outside, and those stay as they
   are. Every window has at least one pixel inside. */
void swin_block(const Block *b, float *first, num stride, num down, num across, const Box *inside, float *scratch)
{
    num px = row_of(b), w = b->window, dim = b->dim, wide = 3 * dim > b->hidden ? 3 * dim : b->hidden;
    float *x = scratch, *y = x + dim * px, *broad = y + dim * px, *logits = broad + wide * px;
    unsigned char hidden[w * w];
    memset(x, 0, sizeof(float) * dim * px);
    for (num r = 0; r < down; r++)
        for (num q = 0; q < across; q++) {
            float *corner = first + (r * stride + q * dim) * w;
            Box seen = part(inside, r * w, q * w, w);
            int whole = seen.bottom - seen.top == w && seen.right - seen.left == w;
            for (num i = 0; i < w * w && !whole; i++)
                hidden[i] = i / w < seen.top || i / w >= seen.bottom || i % w < seen.left || i % w >= seen.right;
            fetch(b, corner, stride, x);
            compute(b, x, whole ? 0 : hidden, y, broad, logits);
            put(b, x, seen, corner, stride);
        }
}
