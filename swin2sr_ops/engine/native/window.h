/* What a Swin block is, and what its inference and its training have in common. */

#include "products.h"

/* Exactly `native.steps.Block`. Weights as (rows / 6, columns, 6) in block.c, as in the module in learn.c. */
typedef struct {
    num dim, heads, window, hidden, post_norm, cosine;
    float eps;
    const float *qkv, *qkv_bias, *scale, *bias; /* bias: (heads, P, PX), by key, then query */
    const float *proj, *proj_bias, *norm1, *norm1_bias;
    const float *fc1, *fc1_bias, *fc2, *fc2_bias, *norm2, *norm2_bias;
} Block;

/* Pixels of a window. */
INLINE num pixels_of(const Block *b) { return b->window * b->window; }

/* And of a row in scratch: whole strips of lanes, zero behind the last pixel, where lines are written by eights. */
INLINE num row_of(const Block *b) { return (pixels_of(b) + (b->window % 8 ? 8 : 0) + STRIP - 1) / STRIP * STRIP; }

/* Vectors of length `scale`, down the rows of a head; `inverse`, where it is wanted: 1 / what they were long. */
INLINE void unit(float *x, num size, num px, float scale, float *inverse)
{
    for (num p = 0; p < px; p += LANES) {
        vec power = {0};
        for (num d = 0; d < size; d++) power = fused(load(x + d * px + p), load(x + d * px + p), power);
        vec length = larger(root(power), spread(1e-12f)), factor = scale / length;
        if (inverse) store(inverse + p, 1.0f / length);
        for (num d = 0; d < size; d++) store(x + d * px + p, load(x + d * px + p) * factor);
    }
}

/* Softmax over the keys (rows) for each query (lane); `hidden` keys are seen by none. Gives 1 / sum. */
INLINE void softmax(float *logits, num keys, num px, const unsigned char *hidden, float *inverse)
{
    for (num p = 0; p < px; p += LANES) {
        vec top = spread(-3e38f), sum = {0};
        for (num k = 0; k < keys; k++)
            if (!hidden || !hidden[k]) top = larger(top, load(logits + k * px + p));
        for (num k = 0; k < keys; k++) {
            vec weight = {0};
            if (!hidden || !hidden[k]) weight = exponential(load(logits + k * px + p) - top);
            store(logits + k * px + p, weight);
            sum += weight;
        }
        store(inverse + p, 1.0f / sum);
    }
}
