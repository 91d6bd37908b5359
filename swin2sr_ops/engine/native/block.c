/* A Swin block on windows of a plane, in place: what SwinBlock.tokens does, in float32.

   A window's features lie transposed, a row of PX numbers for each channel, so that a vector holds as many
   pixels: products then waste no lanes on 60 or 10 channels, and norms and the softmax never sum across lanes.
   Everything but the weights stays in the scratch of one window, which fits the second-level cache; what a strip of its
   pixels needs by itself fits the first-level one.

   Every window is computed alike, wherever it lies: the result does not depend on how the image is cut. */

#include "window.h"

/* x += y, or norm(y), for a strip of pixels; x_row, y_row: from one channel to the next. */
static void add(const Block *b, float *x, num x_row, const float *y, num y_row, const float *gain, const float *offset)
{
    vec mean[ACROSS] = {{0}}, power[ACROSS] = {{0}};
    if (gain) {
        for (num c = 0; c < b->dim; c++)
            for (int j = 0; j < ACROSS; j++) mean[j] += load(y + c * y_row + j * LANES);
        for (int j = 0; j < ACROSS; j++) mean[j] /= (float)b->dim;
        for (num c = 0; c < b->dim; c++)
            for (int j = 0; j < ACROSS; j++) {
                vec gap = load(y + c * y_row + j * LANES) - mean[j];
                power[j] = fused(gap, gap, power[j]);
            }
        for (int j = 0; j < ACROSS; j++) power[j] = 1.0f / root(power[j] / (float)b->dim + b->eps);
    }
    for (num c = 0; c < b->dim; c++)
        for (int j = 0; j < ACROSS; j++) {
            float *to = x + c * x_row + j * LANES;
            vec value = load(y + c * y_row + j * LANES);
            if (gain) value = fused((value - mean[j]) * power[j], spread(gain[c]), spread(offset[c]));
            store(to, load(to) + value);
        }
}

/* y = norm(x), for a strip. */
static void norm(const Block *b, float *y, const float *x, num x_row, const float *gain, const float *offset)
{
    memset(y, 0, sizeof(float) * b->dim * STRIP);
    add(b, y, STRIP, x, x_row, gain, offset);
}

/* qkv (3 dim, PX) -> out (dim, PX), head by head. */
static void attend(const Block *b, float *qkv, const unsigned char *hidden, float *logits, float *out)
{
    num px = row_of(b), keys = pixels_of(b), size = b->dim / b->heads;
    float inverse[STRIP] __attribute__((aligned(64)));
    for (num h = 0; h < b->heads; h++) {
        float *q = qkv + h * size * px, *k = q + b->dim * px, *v = k + b->dim * px, *mine = out + h * size * px;
        if (b->cosine) {
            unit(q, size, px, b->scale[h], 0);
            unit(k, size, px, 1.0f, 0);
        } else {
            for (num i = 0; i < size * px; i++) q[i] *= b->scale[h];
        }
        for (num p = 0; p < px; p += STRIP) {
            multiply_strip(ACROSS, (Matrix){k, 1, px, ROWS}, keys, size, q + p, px, b->bias + h * keys * px + p, px,
                           logits, STRIP);
            softmax(logits, keys, STRIP, hidden, inverse);
            multiply_strip(ACROSS, (Matrix){v, px, 1, ROWS * px}, size, keys, logits, STRIP, 0, 0, mine + p, px);
            for (num d = 0; d < size; d++)
                for (num l = 0; l < STRIP; l++) mine[d * px + p + l] *= inverse[l];
        }
    }
}

/* y (rows, STRIP) = bias + weight (rows, columns) . x (columns, STRIP) */
static void linear(const float *weight, const float *bias, num rows, num columns, const float *x, num x_row, float *y,
                   num y_row)
{
    multiply_strip(ACROSS, packed(weight, columns), rows, columns, x, x_row, bias, 0, y, y_row);
}

static void gelu(float *x, num count)
{
    for (num i = 0; i < count; i += LANES) {
        vec value = load(x + i);
        vec half = 0.5f * value;
        store(x + i, fused(half, error_function(value * 0.70710678118654752f), half));
    }
}

/* A window in scratch. The first three hold all of its pixels, (dim, PX), (dim, PX) and (3 dim, PX), the others a strip
   of them: (dim, STRIP), (hidden, STRIP) and (P, STRIP). */
typedef struct {
    float *x, *attended, *qkv, *strip, *wide, *logits;
} Rows;

/* x becomes the block's result. A strip goes through all that follows attention while the first-level cache has it. */
static void compute(const Block *b, const Rows *s, const unsigned char *hidden)
{
    num px = row_of(b), dim = b->dim, post = b->post_norm, in_row = post ? px : STRIP;
    for (float *x = s->x, *qkv = s->qkv; x < s->x + px; x += STRIP, qkv += STRIP) {
        if (!post) norm(b, s->strip, x, px, b->norm1, b->norm1_bias);
        linear(b->qkv, b->qkv_bias, 3 * dim, dim, post ? x : s->strip, in_row, qkv, px);
    }
    attend(b, s->qkv, hidden, s->logits, s->attended);
    for (float *x = s->x, *attended = s->attended; x < s->x + px; x += STRIP, attended += STRIP) {
        linear(b->proj, b->proj_bias, dim, dim, attended, px, s->strip, STRIP);
        add(b, x, px, s->strip, STRIP, post ? b->norm1 : 0, b->norm1_bias);
        if (!post) norm(b, s->strip, x, px, b->norm2, b->norm2_bias);
        linear(b->fc1, b->fc1_bias, b->hidden, dim, post ? x : s->strip, in_row, s->wide, STRIP);
        gelu(s->wide, b->hidden * STRIP);
        linear(b->fc2, b->fc2_bias, dim, b->hidden, s->wide, STRIP, s->strip, STRIP);
        add(b, x, px, s->strip, STRIP, post ? b->norm2 : 0, b->norm2_bias);
    }
}

/* Numbers of scratch that `swin_block` wants. */
num swin_scratch(const Block *b)
{
    return 5 * b->dim * row_of(b) + (b->dim + b->hidden + pixels_of(b)) * STRIP;
}

/* Numbers in a row of scratch: the length of a row of `bias`. */
num swin_row(const Block *b) { return row_of(b); }

/* A window's pixels -> x (dim, PX). Line by line: zeros behind a line of 7 are written over by the next. */
static void fetch(const Block *b, const float *corner, num stride, float *x)
{
    num px = row_of(b), w = b->window, dim = b->dim;
    for (num i = 0; i < w; i++)
        for (num j = 0; j < w; j += 8)
            for (num k = 0; k < dim; k += 8) {
                num c = group_of_eight(k, dim);
                transpose(corner + i * stride + j * dim + c, dim, w - j < 8 ? w - j : 8, dim - c < 8 ? dim - c : 8,
                          x + c * px + i * w + j, px);
            }
}

/* x (dim, PX) -> the window's pixels, those in `inside`. */
static void put(const Block *b, const float *x, Box inside, float *corner, num stride)
{
    num px = row_of(b), w = b->window, dim = b->dim;
    for (num i = inside.top; i < inside.bottom; i++)
        for (num k = 0; k < dim; k += 8) {
            num c = group_of_eight(k, dim);
            const float *from = x + c * px + i * w;
            float *to = corner + i * stride + c;
            if (w == 8 && dim >= 8 && inside.left == 0 && inside.right == 8)
                transpose(from, px, 8, 8, to, dim);
            else
                for (num j = inside.left; j < inside.right; j++)
                    for (num l = 0; l < 8 && c + l < dim; l++) to[j * dim + l] = from[l * px + j];
        }
}

/* A window's lines, which the next call of `fetch` reads, on their way to the cache. */
static void prefetch(const Block *b, const float *corner, num stride)
{
    for (num i = 0; i < b->window; i++)
        for (num c = 0; c < b->window * b->dim; c += 16) __builtin_prefetch(corner + i * stride + c, 1);
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
    num px = row_of(b), w = b->window, dim = b->dim;
    float *strip = scratch + 5 * dim * px, *wide = strip + dim * STRIP;
    Rows s = {scratch, scratch + dim * px, scratch + 2 * dim * px, strip, wide, wide + b->hidden * STRIP};
    unsigned char hidden[w * w];
    memset(s.x, 0, sizeof(float) * dim * px);
    for (num r = 0; r < down; r++)
        for (num q = 0; q < across; q++) {
            float *corner = first + (r * stride + q * dim) * w;
            Box seen = part(inside, r * w, q * w, w);
            int whole = seen.bottom - seen.top == w && seen.right - seen.left == w;
            for (num i = 0; i < w * w && !whole; i++)
                hidden[i] = i / w < seen.top || i / w >= seen.bottom || i % w < seen.left || i % w >= seen.right;
            fetch(b, corner, stride, s.x);
            if (q + 1 < across) prefetch(b, corner + w * dim, stride);
            compute(b, &s, whole ? 0 : hidden);
            put(b, s.x, seen, corner, stride);
        }
}
