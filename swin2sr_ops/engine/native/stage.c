/* The end of a stage, or of a trunk, for a part of a plane: target += embed(conv3x3(norm(source))); norm and embed
   where there are some.

   Three rows of pixels at a time lie transposed, a row of numbers for each channel: a product's lanes are then
   neighbouring pixels, and a tap of the convolution is the same rows, read one pixel further. */

#include "products.h"

/* Pixels of a line that are computed together, whose three lines of 60 channels fit the first-level cache; and
   vectors beside each other. */
#define SIDE 32
#define BESIDE (LANES == 16 ? 2 : ACROSS)
#define STEP (LANES * BESIDE)
#define WIDE (SIDE + 10) /* a pixel more on both sides, and room for eight from the last one on */

/* Exactly `native.steps._Stage`. Weights as (rows / 6, 3, 3, columns, 6) and (rows / 6, columns, 6). */
typedef struct {
    num dim;
    float eps;
    const float *conv, *conv_bias, *embed, *embed_bias, *norm, *norm_bias;
} Stage;

/* A line of SIDE + 2 pixels, of which `from` to `to` lie in the image: transposed and normalised, zero elsewhere. */
static void fetch(const Stage *s, const float *line, num from, num to, float *x)
{
    num dim = s->dim;
    memset(x, 0, sizeof(float) * dim * WIDE);
    for (num j = from; j < to; j += 8)
        for (num c = 0; c < dim; c += 8)
            transpose(line + j * dim + c, dim, to - j < 8 ? to - j : 8, dim - c < 8 ? dim - c : 8,
                      x + c * WIDE + j, WIDE);
    if (!s->norm) return;
    float mean[WIDE] = {0}, power[WIDE] = {0};
    for (num c = 0; c < dim; c++)
        for (num j = 0; j < WIDE; j++) mean[j] += x[c * WIDE + j];
    for (num j = 0; j < WIDE; j++) mean[j] /= (float)dim;
    for (num c = 0; c < dim; c++)
        for (num j = 0; j < WIDE; j++) {
            float gap = x[c * WIDE + j] - mean[j];
            power[j] = __builtin_fmaf(gap, gap, power[j]);
        }
    for (num j = 0; j < WIDE; j++) power[j] = 1.0f / __builtin_sqrtf(power[j] / (float)dim + s->eps);
    for (num c = 0; c < dim; c++)
        for (num j = 0; j < WIDE; j++) {
            float value = __builtin_fmaf((x[c * WIDE + j] - mean[j]) * power[j], s->norm[c], s->norm_bias[c]);
            x[c * WIDE + j] = j >= from && j < to ? value : 0;
        }
}

static void convolve(const Stage *s, float *const *lines, float *out)
{
    num dim = s->dim;
    for (num r = 0; r < dim; r += ROWS)
        for (num p = 0; p < SIDE; p += STEP) {
            const float *taps[9], *left = s->conv + r * 9 * dim;
            for (int t = 0; t < 9; t++) taps[t] = lines[t / 3] + t % 3 + p;
#define CASE(n) \
    case n: \
        tile(n, BESIDE, 9, left, 1, ROWS, dim, taps, WIDE, s->conv_bias + r, 0, out + r * SIDE + p, SIDE); \
        break;
            EACH_REST(dim - r, CASE)
#undef CASE
        }
}

/* Numbers of scratch that `swin_stage` wants. */
num swin_stage_scratch(const Stage *s) { return s->dim * (3 * WIDE + 2 * SIDE); }

/* target += what becomes of source, for `rows` x `columns` pixels. Both point to the first of them; source may be read
   one pixel around. inside: the image's rows and columns, counted from there. */
void swin_stage(const Stage *s, const float *source, num source_stride, float *target, num target_stride, num rows,
                num columns, const Box *inside, float *scratch)
{
    num dim = s->dim;
    float *lines[3], *y = scratch + 3 * dim * WIDE, *z = y + dim * SIDE;
    for (int i = 0; i < 3; i++) lines[i] = scratch + i * dim * WIDE;
    for (num q = 0; q < columns; q += SIDE) {
        num count = columns - q < SIDE ? columns - q : SIDE;
        num from = inside->left - q + 1 > 0 ? inside->left - q + 1 : 0;
        num to = inside->right - q + 1 < count + 2 ? inside->right - q + 1 : count + 2;
        for (num i = -1; i <= rows; i++) {
            int within = i >= inside->top && i < inside->bottom;
            fetch(s, source + i * source_stride + (q - 1) * dim, from, within ? to : from, lines[2]);
            if (i > 0) {
                const float *found = y;
                convolve(s, lines, y);
                if (s->embed) {
                    multiply(BESIDE, packed(s->embed, dim), dim, dim, y, SIDE, s->embed_bias, 0, z);
                    found = z;
                }
                float *line = target + (i - 1) * target_stride + q * dim;
                for (num j = 0; j < count; j++)
                    for (num c = 0; c < dim; c++) line[j * dim + c] += found[c * SIDE + j];
            }
            float *oldest = lines[0];
            lines[0] = lines[1], lines[1] = lines[2], lines[2] = oldest;
        }
    }
}
