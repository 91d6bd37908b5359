/* Convolutions of planes whose pixels hold their channels side by side, and what heads need beside them.

   A vector's lanes are output channels, so no plane is transposed: an input number meets the weights of all outputs.
   Sums stay in registers from the first tap to the last. Each output is one chain of fused multiply-adds, tap by tap
   and channel by channel, from its bias on: its bits depend neither on the tile nor on the width of the vectors. */

#include "products.h"

/* Most vectors of outputs at a time, and pixels with so many: sums take 24 registers of 32, or 12 of 16. */
#define MOST (LANES == 8 ? 2 : 4)
#define PIXELS(across) (LANES == 8 ? ((across) == 1 ? 12 : 6) : (across) == 4 ? 6 : (across) == 3 ? 8 : 12)
#define SEGMENT 48 /* pixels of a row that meet a group of weights while they are in the first-level cache */

/* Exactly `native.kernels.Convolution`. Outputs come in `phases`: factor x factor pixels for one that is read. */
typedef struct {
    num inputs, outputs, taps, factor;
    float slope;           /* of a leaky ReLU; 1 for none */
    const num *offsets;   /* (phases, taps, 2): rows and columns from the pixel */
    const float *weights;  /* (phases, taps, inputs, outputs), these filled up to a multiple of 16 */
    const float *bias;     /* (phases, outputs), as many */
} Convolution;

/* Numbers in a row of weights. */
INLINE num row_of_weights(const Convolution *c) { return (c->outputs + 15) / 16 * 16; }

/* `n` pixels of a row times `across` vectors of outputs. */
INLINE void dot(const int n, const int across, const Convolution *c, const num *offsets, const float *const *pixels,
                num stride, const float *weights, const float *bias, vec (*sum)[MOST])
{
    UNROLL(12)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < across; j++) sum[i][j] = load(bias + j * LANES);
    num row = row_of_weights(c);
    for (num t = 0; t < c->taps; t++) {
        const float *from[12];
        num tap = offsets[2 * t] * stride + offsets[2 * t + 1] * c->inputs;
        UNROLL(12)
        for (int i = 0; i < n; i++) from[i] = pixels[i] + tap;
        for (num k = 0; k < c->inputs; k++, weights += row) {
            vec right[MOST];
            UNROLL(4)
            for (int j = 0; j < across; j++) right[j] = load(weights + j * LANES);
            UNROLL(12)
            for (int i = 0; i < n; i++) {
                vec left = spread(from[i][k]);
                UNROLL(4)
                for (int j = 0; j < across; j++) sum[i][j] = fused(left, right[j], sum[i][j]);
            }
        }
    }
}

/* Store the first `count` numbers of a vector, with what is to be added. */
static __attribute__((noinline)) void put_part(vec value, num count, const float *added, float *to)
{
    float part[LANES];
    store(part, value);
    for (num l = 0; l < count; l++) to[l] = added ? part[l] + added[l] : part[l];
}

/* A segment of a row, for one group of weights, of which `outputs` are left. */
INLINE void segment(const int n, const int across, const Convolution *c, const num *offsets, const float *source,
                    num stride, const float *weights, const float *bias, num count, num outputs, const float *added,
                    float *to, num pitch)
{
    for (num x = 0; x < count; x += n) {
        const float *pixels[12];
        vec sum[12][MOST];
        for (int i = 0; i < n; i++) pixels[i] = source + (x + i < count ? x + i : count - 1) * c->inputs;
        dot(n, across, c, offsets, pixels, stride, weights, bias, sum);
        if (c->slope != 1.0f)
            UNROLL(12)
            for (int i = 0; i < n; i++)
                UNROLL(4)
                for (int j = 0; j < across; j++) sum[i][j] = larger(sum[i][j] * c->slope, sum[i][j]);
        UNROLL(12)
        for (int i = 0; i < n; i++) {
            if (x + i == count) return;
            float *target = to + (x + i) * pitch;
            const float *plus = added ? added + (x + i) * c->outputs : 0;
            UNROLL(4)
            for (int j = 0; j < across; j++) {
                if (j == across - 1 && outputs < across * LANES)
                    put_part(sum[i][j], outputs - j * LANES, plus ? plus + j * LANES : 0, target + j * LANES);
                else if (plus)
                    store(target + j * LANES, load(plus + j * LANES) + sum[i][j]);
                else
                    store(target + j * LANES, sum[i][j]);
            }
        }
    }
}

/* A row of pixels, all outputs; added has no phases. */
static __attribute__((noinline)) void convolve_row(const Convolution *c, const float *source, num stride,
                                                   const float *added, float *to, num to_stride, num columns)
{
    num all = (c->outputs + LANES - 1) / LANES, groups = (all + MOST - 1) / MOST, row = row_of_weights(c);
    num pitch = c->factor * c->outputs;
    for (num x = 0; x < columns; x += SEGMENT) {
        num count = columns - x < SEGMENT ? columns - x : SEGMENT;
        for (num p = 0; p < c->factor * c->factor; p++) {
            float *target = to + p / c->factor * to_stride + p % c->factor * c->outputs + x * pitch;
            const float *weights = c->weights + p * c->taps * c->inputs * row;
            for (num g = 0; g < groups; g++) {
                num first = all * g / groups, across = all * (g + 1) / groups - first, lanes = first * LANES;
#define CASE(a) \
    case a: \
        segment(PIXELS(a), a, c, c->offsets + p * c->taps * 2, source + x * c->inputs, stride, weights + lanes, \
                c->bias + p * row + lanes, count, c->outputs - lanes, \
                added ? added + x * c->outputs + lanes : 0, target + lanes, pitch); \
        break;
                switch (across) {
                    CASE(1) CASE(2)
#if LANES != 8
                    CASE(3) CASE(4)
#endif
                }
#undef CASE
            }
        }
    }
}

static num between(num value, num from, num to) { return value < from ? from : value > to ? to : value; }

static void zero(float *row, num from, num to, num numbers)
{
    if (to > from) memset(row + from * numbers, 0, sizeof(float) * (to - from) * numbers);
}

/* target = convolution(source) + added, for `rows` x `columns` pixels of the source. All point to the first of them;
   the source is read around as far as taps reach. inside: the image's rows and columns, counted from there: pixels
   outside become zero, which is the padding that the next convolution reads. */
void swin_convolve(const Convolution *c, const float *source, num source_stride, const float *added,
                   num added_stride, float *target, num target_stride, num rows, num columns, const Box *inside)
{
    num left = between(inside->left, 0, columns), right = between(inside->right, left, columns);
    num factor = c->factor, pitch = factor * c->outputs;
    for (num y = 0; y < rows; y++) {
        float *to = target + y * factor * target_stride;
        int within = y >= inside->top && y < inside->bottom;
        for (num i = 0; i < factor; i++) {
            zero(to + i * target_stride, 0, within ? left : columns, pitch);
            if (within) zero(to + i * target_stride, right, columns, pitch);
        }
        if (within && right > left)
            convolve_row(c, source + y * source_stride + left * c->inputs, source_stride,
                         added ? added + y * added_stride + left * c->outputs : 0, to + left * pitch, target_stride,
                         right - left);
    }
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

/* The same 3x3 convolution to `outputs` numbers, so few that lanes would lie idle: `c` makes of each pixel its products
   for all taps, (9, outputs) of them; then each pixel adds those of its neighbours, tap by tap, and its bias.

   scratch: 3 (columns + 2) rows of c->outputs and 4 more. */
void swin_thin(const Convolution *c, num outputs, const float *bias, const float *source, num source_stride,
               const float *added, num added_stride, float *target, num target_stride, num rows, num columns,
               const Box *inside, float *scratch)
{
    num left = between(inside->left, 0, columns), right = between(inside->right, left, columns);
    num wide = c->outputs, line = (columns + 2) * wide + 4, count = right - left + 2;
    float *lines[3] = {scratch, scratch + line, scratch + 2 * line};
    num top = between(inside->top, 0, rows), bottom = between(inside->bottom, top, rows);
    for (num y = 0; y < rows; y++)
        if (y < top || y >= bottom) zero(target + y * target_stride, 0, columns, outputs);
    if (right == left) bottom = top;
    for (num y = top - 1; y <= bottom && bottom > top; y++) {
        float *oldest = lines[0];
        lines[0] = lines[1], lines[1] = lines[2], lines[2] = oldest;
        convolve_row(c, source + y * source_stride + (left - 1) * c->inputs, source_stride, 0, lines[2], 0, count);
        if (y <= top) continue;
        float *to = target + (y - 1) * target_stride;
        const float *plus = added ? added + (y - 1) * added_stride : 0;
        zero(to, 0, left, outputs);
        zero(to, right, columns, outputs);
        for (num x = left; x < right; x++)
            for (num o = 0; o < outputs; o += 4) {
                four sum = {0};
                num some = outputs - o < 4 ? outputs - o : 4;
                for (num l = 0; l < some; l++) sum[l] = bias[o + l];
                for (int t = 0; t < 9; t++)
                    sum += *(const four *)(lines[t / 3] + (x - left + t % 3) * wide + t * outputs + o);
                for (num l = 0; l < some; l++)
                    to[x * outputs + o + l] = sum[l] + (plus ? plus[x * outputs + o + l] : 0.0f);
            }
    }
}

/* The sum of `size` numbers, or of their squared distances from `mean`: sixteen sums, then halves of them. */
INLINE float total(const float *x, num size, float mean, const int squares)
{
    float sums[16] = {0};
#define ADD(count) \
    for (num l = 0; l < count; l++) { \
        float value = x[c + l] - mean; \
        sums[l] = squares ? __builtin_fmaf(value, value, sums[l]) : sums[l] + value; \
    }
    num c = 0;
    for (; c + 16 <= size; c += 16) ADD(16)
    ADD(size - c)
#undef ADD
    for (num half = 8; half; half /= 2)
        for (num l = 0; l < half; l++) sums[l] += sums[l + half];
    return sums[0];
}

/* target = norm(source), pixel by pixel; zero outside the image. */
void swin_norm(num size, float eps, const float *gain, const float *offset, const float *source, num source_stride,
               float *target, num target_stride, num rows, num columns, const Box *inside)
{
    for (num y = 0; y < rows; y++)
        for (num x = 0; x < columns; x++) {
            const float *from = source + y * source_stride + x * size;
            float *to = target + y * target_stride + x * size;
            if (y < inside->top || y >= inside->bottom || x < inside->left || x >= inside->right) {
                memset(to, 0, sizeof(float) * size);
                continue;
            }
            float mean = total(from, size, 0.0f, 0) / (float)size;
            float power = 1.0f / __builtin_sqrtf(total(from, size, mean, 1) / (float)size + eps);
            for (num c = 0; c < size; c++) to[c] = __builtin_fmaf((from[c] - mean) * power, gain[c], offset[c]);
        }
}

/* Back to 0..1: (rows, columns, channels factor factor), a pixel's parts in the order of a pixel shuffle, becomes
   channels of their own, `plane` numbers from one to the next. */
void swin_finish(const float *source, num source_stride, num rows, num columns, num channels, num factor,
                 float range, const float *mean, float *target, num target_stride, num plane)
{
    num wide = channels * factor * factor;
    for (num y = 0; y < rows; y++)
        for (num c = 0; c < channels; c++)
            for (num i = 0; i < factor; i++) {
                const float *from = source + y * source_stride + (c * factor + i) * factor;
                float *to = target + c * plane + (y * factor + i) * target_stride;
                for (num x = 0; x < columns; x++)
                    for (num j = 0; j < factor; j++) to[x * factor + j] = from[x * wide + j] / range + mean[c];
            }
}

/* The image enlarged `factor` times, from row `top` and column `left` of the enlarged source on. Beyond the image its
   last pixels go on; what lies outside becomes zero. weights: (factor, 5), of the neighbours -2 to 2. inside: the
   image's rows and columns, counted from the source's first pixel, in its own pixels.

   scratch: (columns / factor + 8) channels. */
void swin_bicubic(const float *weights, num factor, num channels, const float *source, num source_stride,
                  float *target, num target_stride, num top, num left, num rows, num columns, const Box *inside,
                  float *scratch)
{
    num first = left / factor - 2, last = first + columns / factor + 6;
    for (num y = top; y < top + rows; y++) {
        float *to = target + (y - top) * target_stride;
        memset(to, 0, sizeof(float) * columns * channels);
        if (y < inside->top * factor || y >= inside->bottom * factor) continue;
        num at = y / factor;
        const float *of = weights + y % factor * 5;
        for (num x = first; x < last; x++)
            for (num c = 0; c < channels; c++) {
                float sum = 0;
                for (num k = 0; k < 5; k++) {
                    num row = between(at + k - 2, inside->top, inside->bottom - 1);
                    num column = between(x, inside->left, inside->right - 1);
                    sum = __builtin_fmaf(of[k], source[row * source_stride + column * channels + c], sum);
                }
                scratch[(x - first) * channels + c] = sum;
            }
        for (num x = left; x < left + columns; x++) {
            if (x < inside->left * factor || x >= inside->right * factor) continue;
            const float *with = weights + x % factor * 5;
            for (num c = 0; c < channels; c++) {
                float sum = 0;
                for (num k = 0; k < 5; k++)
                    sum = __builtin_fmaf(with[k], scratch[(x / factor + k - 2 - first) * channels + c], sum);
                to[(x - left) * channels + c] = sum;
            }
        }
    }
}

/* Position bias of cosine attention before its sigmoid, (heads, places), from coordinates (2, places) through a layer
   of `hidden` ReLUs; in double, rounded by the caller. scratch: (places). */
void swin_position(num places, num hidden, num heads, const double *coordinates, const float *in,
                   const float *in_bias, const float *out, double *bias, double *scratch)
{
    memset(bias, 0, sizeof(double) * heads * places);
    for (num k = 0; k < hidden; k++) {
        for (num p = 0; p < places; p++) {
            double value = __builtin_fma(coordinates[p], in[2 * k], (double)in_bias[k]);
            value = __builtin_fma(coordinates[places + p], in[2 * k + 1], value);
            scratch[p] = value > 0 ? value : 0;
        }
        for (num h = 0; h < heads; h++)
            for (num p = 0; p < places; p++)
                bias[h * places + p] = __builtin_fma(out[h * hidden + k], scratch[p], bias[h * places + p]);
    }
}
