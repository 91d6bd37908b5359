/* A Swin block in training: what SwinBlock.forward does with a batch of planes, and its gradients, in float32.

   Lanes are a window's pixels, as in block.c. Nothing is kept between the two directions but the block's input: a
   window is computed once more on the way back, in scratch that the caches hold. Products with gradients are the same
   products; those that sum over pixels, for weights, keys and values, take one factor transposed.

   Letters: x input, q queries with keys and values behind them, a attention, o what it gives, p projected, u the first
   residual's sum, h hidden, g after GELU, m after fc2; d before a letter: the loss's derivative by it. */

#include "window.h"

/* A sum over pixels is kept as this many, one for every 16th pixel, however many lanes there are. */
#define SUMS 16

/* Exactly `native.learning._Gradients`: sums over windows. Rows of weights as long as `wide`; of the others the
   SUMS are still to be added. */
typedef struct {
    float *qkv, *qkv_bias, *scale, *bias, *proj, *proj_bias, *norm1, *norm1_bias;
    float *fc1, *fc1_bias, *fc2, *fc2_bias, *norm2, *norm2_bias;
} Gradients;

/* Exactly `native.learning._Planes`: (count, down w, across w, dim), windows `shift` pixels further down and right,
   those at the end around the border. masks: (4, P, PX) for windows inside, at the right, at the bottom, at both; or
   none. */
typedef struct {
    num down, across, shift;
    const float *masks, *input, *gradient;
    float *output;
} Planes;

/* A window's rows in scratch. */
typedef struct {
    float *x, *n, *q, *a, *o, *p, *u, *n2, *h, *g, *m, *sizes; /* forward */
    float *dx, *du, *dm, *dh, *dp, *dq, *da, *turned, *pixels; /* back */
    num size;
} Rows;

/* The length of a row that holds `count` numbers: whole strips. */
static num wide(num count) { return (count + STRIP - 1) / STRIP * STRIP; }

/* The rows in `scratch`; without one, only how many numbers they are. */
static Rows lay_out(const Block *b, float *scratch)
{
    num px = row_of(b), keys = pixels_of(b), dim = b->dim, widest = dim > b->hidden ? dim : b->hidden;
    num size = 0;
    Rows r;
    struct {
        float **rows;
        num count;
    } parts[] = {
        {&r.x, dim},      {&r.n, dim},  {&r.q, 3 * dim},   {&r.a, b->heads * keys},   {&r.o, dim},  {&r.p, dim},
        {&r.u, dim},      {&r.n2, dim}, {&r.h, b->hidden}, {&r.g, b->hidden},         {&r.m, dim},
        {&r.sizes, 2 * b->heads},       {&r.dx, dim},      {&r.du, dim},              {&r.dm, dim},
        {&r.dh, b->hidden},             {&r.dp, dim},      {&r.dq, 3 * dim},          {&r.da, keys}, {&r.turned, px},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].rows = scratch ? scratch + size : 0;
        size += parts[i].count * px;
    }
    r.pixels = scratch ? scratch + size : 0;
    r.size = size + keys * wide(widest);
    return r;
}

/* Numbers of scratch that `swin_learn` wants. */
num swin_learn_scratch(const Block *b) { return lay_out(b, 0).size; }

/* Numbers in a row of a weight's gradient, of the position bias's, and of one of the others'. */
num swin_learn_row(num columns) { return wide(columns); }
num swin_learn_bias_row(const Block *b) { return row_of(b); }
num swin_learn_sums(void) { return SUMS; }

/* Add `values`, those from pixel p on, to SUMS. */
INLINE void sum_up(float *sums, num p, vec values) { store(sums + p % SUMS, load(sums + p % SUMS) + values); }

/* to (columns, to_row) = from (rows, from_row), transposed; zeros up to the next eighth column. */
static void turn(const float *from, num from_row, num rows, num columns, float *to, num to_row)
{
    for (num r = 0; r < rows; r += 8)
        for (num c = 0; c < columns; c += 8)
            transpose(from + r * from_row + c, from_row, rows - r < 8 ? rows - r : 8, columns - c < 8 ? columns - c : 8,
                      to + c * to_row + r, to_row);
}

/* y (rows, px) = bias + weight (rows, columns) . x (columns, px) */
static void linear(const float *weight, const float *bias, num rows, num columns, const float *x, num px, float *y)
{
    multiply(ACROSS, (Matrix){weight, columns, 1, ROWS * columns}, rows, columns, x, px, bias, 0, y);
}

/* dx (columns, px) = start, if there is one, + weight^T . dy (rows, px) */
static void linear_back(const float *weight, num rows, num columns, const float *dy, num px, const float *start,
                        float *dx)
{
    multiply(ACROSS, (Matrix){weight, 1, columns, ROWS}, columns, rows, dy, px, start, px, dx);
}

/* weight += dy (rows, px) . x^T, bias += dy: x (columns, px). */
static void linear_learn(const Block *b, const Rows *s, const float *dy, num rows, const float *x, num columns,
                         float *weight, float *bias)
{
    num px = row_of(b), row = wide(columns);
    turn(x, px, columns, pixels_of(b), s->pixels, row);
    multiply(ACROSS, (Matrix){dy, px, 1, ROWS * px}, rows, pixels_of(b), s->pixels, row, weight, row, weight);
    for (num i = 0; i < rows; i++)
        for (num p = 0; p < px; p += LANES) sum_up(bias + i * SUMS, p, load(dy + i * px + p));
}

typedef struct {
    vec mean, factor;
} Moments;

INLINE Moments moments(const Block *b, const float *x, num px)
{
    vec mean = {0}, power = {0};
    for (num c = 0; c < b->dim; c++) mean += load(x + c * px);
    mean /= (float)b->dim;
    for (num c = 0; c < b->dim; c++) {
        vec gap = load(x + c * px) - mean;
        power = fused(gap, gap, power);
    }
    return (Moments){mean, 1.0f / root(power / (float)b->dim + b->eps)};
}

/* y = start, if there is one, + norm(x) */
static void norm(const Block *b, const float *x, const float *gain, const float *offset, const float *start, float *y)
{
    num px = row_of(b);
    for (num p = 0; p < px; p += LANES) {
        Moments of = moments(b, x + p, px);
        for (num c = 0; c < b->dim; c++) {
            vec value = fused((load(x + c * px + p) - of.mean) * of.factor, spread(gain[c]), spread(offset[c]));
            if (start) value += load(start + c * px + p);
            store(y + c * px + p, value);
        }
    }
}

/* dx = start, if there is one, + what norm(x) makes of dy. dx may be start. */
static void norm_back(const Block *b, const float *x, const float *gain, const float *dy, const float *start, float *dx,
                      float *d_gain, float *d_offset)
{
    num px = row_of(b);
    for (num p = 0; p < px; p += LANES) {
        Moments of = moments(b, x + p, px);
        vec mean = {0}, along = {0};
        for (num c = 0; c < b->dim; c++) {
            vec normed = (load(x + c * px + p) - of.mean) * of.factor, from = load(dy + c * px + p);
            float *sums = d_gain + c * SUMS + p % SUMS;
            store(sums, fused(from, normed, load(sums)));
            sum_up(d_offset + c * SUMS, p, from);
            mean = fused(from, spread(gain[c]), mean);
            along = fused(from * gain[c], normed, along);
        }
        mean /= (float)b->dim, along /= (float)b->dim;
        for (num c = 0; c < b->dim; c++) {
            vec normed = (load(x + c * px + p) - of.mean) * of.factor;
            vec value = of.factor * fused(-normed, along, fused(load(dy + c * px + p), spread(gain[c]), -mean));
            if (start) value += load(start + c * px + p);
            store(dx + c * px + p, value);
        }
    }
}

/* q (3 dim, PX) -> o; leaves unit vectors in q, probabilities in a. */
static void attend(const Block *b, const float *mask, const Rows *s)
{
    num px = row_of(b), keys = pixels_of(b), size = b->dim / b->heads;
    float inverse[px] __attribute__((aligned(64)));
    for (num h = 0; h < b->heads; h++) {
        float *q = s->q + h * size * px, *k = q + b->dim * px, *v = k + b->dim * px, *a = s->a + h * keys * px;
        if (b->cosine) {
            unit(q, size, px, b->scale[h], s->sizes + 2 * h * px);
            unit(k, size, px, 1.0f, s->sizes + (2 * h + 1) * px);
        } else {
            for (num i = 0; i < size * px; i++) q[i] *= b->scale[h];
        }
        multiply(ACROSS, (Matrix){k, 1, px, ROWS}, keys, size, q, px, b->bias + h * keys * px, px, a);
        for (num i = 0; mask && i < keys * px; i += LANES) store(a + i, load(a + i) + load(mask + i));
        softmax(a, keys, px, 0, inverse);
        for (num i = 0; i < keys; i++)
            for (num p = 0; p < px; p++) a[i * px + p] *= inverse[p];
        multiply(ACROSS, (Matrix){v, px, 1, ROWS * px}, size, keys, a, px, 0, 0, s->o + h * size * px);
    }
}

/* Derivatives by unit vectors x = scale y / |y|, in place, become those by y; gives the SUMS of x dx / scale. */
static void unit_back(const float *x, float *dx, num size, num px, float scale, const float *inverse, float *along)
{
    for (num p = 0; p < px; p += LANES) {
        vec sum = {0}, factor = load(inverse + p);
        for (num d = 0; d < size; d++) sum = fused(load(x + d * px + p), load(dx + d * px + p), sum);
        sum *= 1.0f / scale;
        for (num d = 0; d < size; d++)
            store(dx + d * px + p, factor * fused(-load(x + d * px + p), sum, scale * load(dx + d * px + p)));
        if (along) sum_up(along, p, sum);
    }
}

/* do -> dq (3 dim, PX) */
static void attend_back(const Block *b, const float *d_o, const Rows *s, const Gradients *to)
{
    num px = row_of(b), keys = pixels_of(b), size = b->dim / b->heads;
    for (num h = 0; h < b->heads; h++) {
        num first = h * size * px, next = b->dim * px;
        const float *q = s->q + first, *k = q + next, *v = k + next, *a = s->a + h * keys * px, *from = d_o + first;
        float *dq = s->dq + first, *dk = dq + next, *dv = dk + next, *da = s->da, *bias = to->bias + h * keys * px;
        turn(a, px, keys, keys, s->turned, px);
        multiply(ACROSS, (Matrix){from, px, 1, ROWS * px}, size, keys, s->turned, px, 0, 0, dv);
        multiply(ACROSS, (Matrix){v, 1, px, ROWS}, keys, size, from, px, 0, 0, da);
        for (num p = 0; p < px; p += LANES) {
            vec mean = {0};
            for (num i = p; i < keys * px; i += px) mean = fused(load(a + i), load(da + i), mean);
            for (num i = p; i < keys * px; i += px) {
                vec value = load(a + i) * (load(da + i) - mean);
                store(da + i, value);
                store(bias + i, load(bias + i) + value);
            }
        }
        multiply(ACROSS, (Matrix){k, px, 1, ROWS * px}, size, keys, da, px, 0, 0, dq);
        turn(da, px, keys, keys, s->turned, px);
        multiply(ACROSS, (Matrix){q, px, 1, ROWS * px}, size, keys, s->turned, px, 0, 0, dk);
        if (b->cosine) {
            unit_back(q, dq, size, px, b->scale[h], s->sizes + 2 * h * px, to->scale + h * SUMS);
            unit_back(k, dk, size, px, 1.0f, s->sizes + (2 * h + 1) * px, 0);
        } else {
            for (num i = 0; i < size * px; i++) dq[i] *= b->scale[h];
        }
    }
}

#define ROOT_HALF 0.70710678118654752f

static void gelu(const float *x, float *y, num count)
{
    for (num i = 0; i < count; i += LANES) {
        vec half = 0.5f * load(x + i);
        store(y + i, fused(half, error_function(load(x + i) * ROOT_HALF), half));
    }
}

/* dx, in place, times GELU's slope: the normal distribution's integral, plus x times its density. */
static void gelu_back(const float *x, float *dx, num count)
{
    for (num i = 0; i < count; i += LANES) {
        vec value = load(x + i), density = 0.39894228040143268f * exponential(-0.5f * value * value);
        vec below = fused(spread(0.5f), error_function(value * ROOT_HALF), spread(0.5f));
        store(dx + i, load(dx + i) * fused(value, density, below));
    }
}

/* x -> m, and all between. */
static void forward(const Block *b, const float *mask, const Rows *s)
{
    num px = row_of(b), dim = b->dim;
    if (!b->post_norm) norm(b, s->x, b->norm1, b->norm1_bias, 0, s->n);
    linear(b->qkv, b->qkv_bias, 3 * dim, dim, b->post_norm ? s->x : s->n, px, s->q);
    attend(b, mask, s);
    linear(b->proj, b->proj_bias, dim, dim, s->o, px, s->p);
    if (b->post_norm) norm(b, s->p, b->norm1, b->norm1_bias, s->x, s->u);
    else for (num i = 0; i < dim * px; i += LANES) store(s->u + i, load(s->x + i) + load(s->p + i));
    if (!b->post_norm) norm(b, s->u, b->norm2, b->norm2_bias, 0, s->n2);
    linear(b->fc1, b->fc1_bias, b->hidden, dim, b->post_norm ? s->u : s->n2, px, s->h);
    gelu(s->h, s->g, b->hidden * px);
    linear(b->fc2, b->fc2_bias, dim, b->hidden, s->g, px, s->m);
}

/* The block's result. */
static void result(const Block *b, const Rows *s, float *y)
{
    if (b->post_norm) norm(b, s->m, b->norm2, b->norm2_bias, s->u, y);
    else for (num i = 0; i < b->dim * row_of(b); i += LANES) store(y + i, load(s->u + i) + load(s->m + i));
}

/* dy, in s->dx, becomes dx. */
static void backward(const Block *b, const Rows *s, const Gradients *to)
{
    num px = row_of(b), dim = b->dim, post = b->post_norm;
    const float *dm = s->dx, *dp = s->du;
    if (post) norm_back(b, s->m, b->norm2, s->dx, 0, s->dm, to->norm2, to->norm2_bias), dm = s->dm;
    linear_back(b->fc2, dim, b->hidden, dm, px, 0, s->dh);
    linear_learn(b, s, dm, dim, s->g, b->hidden, to->fc2, to->fc2_bias);
    gelu_back(s->h, s->dh, b->hidden * px);
    linear_learn(b, s, s->dh, b->hidden, post ? s->u : s->n2, dim, to->fc1, to->fc1_bias);
    linear_back(b->fc1, b->hidden, dim, s->dh, px, post ? s->dx : 0, s->du);
    if (post) norm_back(b, s->p, b->norm1, s->du, 0, s->dp, to->norm1, to->norm1_bias), dp = s->dp;
    else norm_back(b, s->u, b->norm2, s->du, s->dx, s->du, to->norm2, to->norm2_bias);
    linear_learn(b, s, dp, dim, s->o, dim, to->proj, to->proj_bias);
    linear_back(b->proj, dim, dim, dp, px, 0, s->dm);
    attend_back(b, s->dm, s, to);
    linear_learn(b, s, s->dq, 3 * dim, post ? s->x : s->n, dim, to->qkv, to->qkv_bias);
    linear_back(b->qkv, 3 * dim, dim, s->dq, px, post ? s->du : 0, s->dx);
    if (!post) norm_back(b, s->x, b->norm1, s->dx, s->du, s->dx, to->norm1, to->norm1_bias);
}

/* Where pixel (i, j) of a window lies, counted in pixels. */
static num place(const Block *b, const Planes *of, num window, num i, num j)
{
    num w = b->window, height = of->down * w, width = of->across * w;
    num plane = window / (of->down * of->across), rest = window % (of->down * of->across);
    num y = (rest / of->across * w + i + of->shift) % height, x = (rest % of->across * w + j + of->shift) % width;
    return (plane * height + y) * width + x;
}

/* A window of (count, H, W, dim) -> x (dim, PX) */
static void take(const Block *b, const Planes *of, num window, const float *from, float *pixels, float *x)
{
    num w = b->window, dim = b->dim, row = wide(dim);
    for (num i = 0; i < w * w; i++)
        memcpy(pixels + i * row, from + place(b, of, window, i / w, i % w) * dim, sizeof(float) * dim);
    turn(pixels, row, w * w, dim, x, row_of(b));
}

static void give(const Block *b, const Planes *of, num window, const float *x, float *pixels)
{
    num w = b->window, dim = b->dim, row = wide(dim);
    turn(x, row_of(b), dim, w * w, pixels, row);
    for (num i = 0; i < w * w; i++)
        memcpy(of->output + place(b, of, window, i / w, i % w) * dim, pixels + i * row, sizeof(float) * dim);
}

/* Windows `first` to before `last` of all planes: the block's result as output; or, where there is a gradient by it,
   the gradient by the input as output, and those by the weights added to `to`. */
void swin_learn(const Block *b, const Planes *of, num first, num last, const Gradients *to, float *scratch)
{
    Rows s = lay_out(b, scratch);
    memset(scratch, 0, sizeof(float) * s.size); /* behind the last pixel */
    for (num window = first; window < last; window++) {
        num rest = window % (of->down * of->across);
        num edge = 2 * (rest / of->across == of->down - 1) + (rest % of->across == of->across - 1);
        const float *mask = of->masks ? of->masks + edge * pixels_of(b) * row_of(b) : 0;
        take(b, of, window, of->input, s.pixels, s.x);
        forward(b, mask, &s);
        if (of->gradient) {
            take(b, of, window, of->gradient, s.pixels, s.dx);
            backward(b, &s, to);
        } else {
            result(b, &s, s.dx);
        }
        give(b, of, window, s.dx, s.pixels);
    }
}
