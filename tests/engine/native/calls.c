/* Calls of the kernels, read from a file with what they gave elsewhere: in how many numbers do they differ here?

   Words of eight bytes, numbers of four. A call is its kind (1: swin_block, 2: swin_stage, 3: swin_learn, 4: swin_convolve,
   5: swin_thin, 6: swin_norm, 7: swin_finish, 8: swin_position, 9: swin_bicubic), the weights, then where and on what; 0 ends the file. */

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

typedef ptrdiff_t num;
typedef struct { num top, bottom, left, right; } Box;
typedef struct { num dim, heads, window, hidden, post_norm, cosine; float eps; const float *weights[14]; } Block;
typedef struct { num dim; float eps; const float *weights[6]; } Stage;
typedef struct { num down, across, shift; const float *masks, *input, *gradient; float *output; } Planes;
typedef struct { float *of[14]; } Gradients;
typedef struct {
    num inputs, outputs, taps, factor;
    float slope;
    const num *offsets;
    const float *weights[2];
} Convolution;

num swin_scratch(const Block *b);
num swin_row(const Block *b);
num swin_stage_scratch(const Stage *s);
void swin_block(const Block *b, float *first, num stride, num down, num across, const Box *inside, float *scratch);
void swin_stage(const Stage *s, const float *source, num source_stride, float *target, num target_stride, num rows,
                num columns, const Box *inside, float *scratch);
num swin_learn_scratch(const Block *b);
num swin_learn_row(num columns);
num swin_learn_bias_row(const Block *b);
num swin_learn_sums(void);
void swin_learn(const Block *b, const Planes *of, num first, num last, const Gradients *to, float *scratch);

void swin_convolve(const Convolution *c, const float *source, num source_stride, const float *added, num added_stride,
                   float *target, num target_stride, num rows, num columns, const Box *inside);
void swin_thin(const Convolution *c, num outputs, const float *bias, const float *source, num source_stride,
               const float *added, num added_stride, float *target, num target_stride, num rows, num columns,
               const Box *inside, float *scratch);
void swin_norm(num size, float eps, const float *gain, const float *offset, const float *source, num source_stride,
               float *target, num target_stride, num rows, num columns, const Box *inside);

void swin_finish(const float *source, num source_stride, num rows, num columns, num channels, num factor, float range,
                 const float *mean, float *target, num target_stride, num plane);
void swin_position(num places, num hidden, num heads, const double *coordinates, const float *in, const float *in_bias,
                   const float *out, double *bias, double *scratch);
void swin_bicubic(const float *weights, num factor, num channels, const float *source, num source_stride, float *target,
                  num target_stride, num top, num left, num rows, num columns, const Box *inside, float *scratch);

static void take(void *to, size_t bytes)
{
    if (fread(to, 1, bytes, stdin) != bytes) exit(2);
}

static num word(void)
{
    num found;
    take(&found, sizeof found);
    return found;
}

/* Vectors are read up to the end of the one in which the last number lies. */
static float *zeros(num count) { return calloc(count + 64, sizeof(float)); }

static float *numbers(num count)
{
    float *found = count ? zeros(count) : 0;
    take(found, count * sizeof(float));
    return found;
}

static void weights(const float **found, int count)
{
    for (int i = 0; i < count; i++) found[i] = numbers(word());
}

/* Some numbers come in rows as long as vectors are there; here they may have another length. */
static const float *in_rows(const float *from, num rows, num pixels, num row, num mine)
{
    if (!from) return 0;
    float *found = zeros(rows * mine);
    for (num i = 0; i < rows; i++) memcpy(found + i * mine, from + i * row, pixels * sizeof(float));
    return found;
}

static num apart(const float *a, const float *b, num count)
{
    num found = 0;
    for (num i = 0; i < count; i++) found += memcmp(a + i, b + i, sizeof(float)) != 0;
    return found;
}

static num read_block(Block *b, num (*own_row)(const Block *))
{
    take(b, 6 * sizeof(num));
    take(&b->eps, sizeof b->eps);
    num row = word(), pixels = b->window * b->window;
    weights(b->weights, 14);
    b->weights[3] = in_rows(b->weights[3], b->heads * pixels, pixels, row, own_row(b));
    return row;
}

static num block(void)
{
    Block b;
    read_block(&b, swin_row);
    num count = word(), first = word(), stride = word(), down = word(), across = word();
    Box inside;
    take(&inside, sizeof inside);
    float *plane = numbers(count), *expected = numbers(count);
    swin_block(&b, plane + first, stride, down, across, &inside, zeros(swin_scratch(&b)));
    return apart(plane, expected, count);
}

static num stage(void)
{
    Stage s;
    take(&s.dim, sizeof s.dim);
    take(&s.eps, sizeof s.eps);
    weights(s.weights, 6);
    num count = word(), first = word(), stride = word(), rows = word(), columns = word();
    Box inside;
    take(&inside, sizeof inside);
    float *source = numbers(count), *target = numbers(count), *expected = numbers(count);
    swin_stage(&s, source + first, stride, target + first, stride, rows, columns, &inside, zeros(swin_stage_scratch(&s)));
    return apart(target, expected, count);
}

static num learn(void)
{
    Block b;
    num row = read_block(&b, swin_learn_bias_row), found = 0, rows[14], columns[14], lengths[14];
    Planes of = {.down = word(), .across = 0};
    of.across = word(), of.shift = word();
    num windows = word(), count = word(), pixels = b.window * b.window;
    of.masks = in_rows(numbers(word()), 4 * pixels, pixels, row, swin_learn_bias_row(&b));
    of.input = numbers(count), of.gradient = numbers(word()), of.output = zeros(count);
    Gradients to = {{0}};
    for (int i = 0; i < 14; i++) { /* kind of rows: 0 weights, 1 position bias, 2 others */
        num kind = word();
        rows[i] = word(), columns[i] = word();
        lengths[i] = kind == 0 ? swin_learn_row(columns[i]) : kind == 1 ? swin_learn_bias_row(&b) : swin_learn_sums();
        to.of[i] = zeros(rows[i] * lengths[i]);
    }
    swin_learn(&b, &of, 0, windows, &to, zeros(swin_learn_scratch(&b)));
    found += apart(of.output, numbers(count), count);
    for (int i = 0; i < 14; i++) {
        float *expected = numbers(rows[i] * columns[i]);
        for (num r = 0; of.gradient && r < rows[i]; r++)
            found += apart(to.of[i] + r * lengths[i], expected + r * columns[i], columns[i]);
    }
    return found;
}

typedef struct {
    num count, first, stride;
    float *whole;
} Plane;

static Plane plane(void)
{
    Plane found;
    found.count = word(), found.first = word(), found.stride = word();
    found.whole = numbers(found.count);
    return found;
}

static num convolve(num kind)
{
    Convolution c;
    take(&c, 4 * sizeof(num));
    take(&c.slope, sizeof c.slope);
    num places = word(), *offsets = malloc(places * sizeof(num));
    take(offsets, places * sizeof(num));
    c.offsets = offsets;
    weights(c.weights, 2);
    num outputs = kind == 5 ? word() : 0;
    const float *bias = kind == 5 ? numbers(word()) : 0;
    Plane source = plane(), added = plane(), target = plane();
    num rows = word(), columns = word();
    Box inside;
    take(&inside, sizeof inside);
    const float *from = source.whole + source.first, *plus = added.count ? added.whole + added.first : 0;
    float *to = target.whole + target.first;
    if (kind == 4)
        swin_convolve(&c, from, source.stride, plus, added.stride, to, target.stride, rows, columns, &inside);
    else
        swin_thin(&c, outputs, bias, from, source.stride, plus, added.stride, to, target.stride, rows, columns, &inside,
                  zeros(3 * ((columns + 2) * c.outputs + 4)));
    return apart(target.whole, numbers(target.count), target.count);
}

static num norm(void)
{
    num size = word();
    float eps;
    take(&eps, sizeof eps);
    const float *of[2];
    weights(of, 2);
    Plane source = plane(), target = plane();
    num rows = word(), columns = word();
    Box inside;
    take(&inside, sizeof inside);
    swin_norm(size, eps, of[0], of[1], source.whole + source.first, source.stride, target.whole + target.first,
              target.stride, rows, columns, &inside);
    return apart(target.whole, numbers(target.count), target.count);
}

static num finish(void)
{
    num rows = word(), columns = word(), channels = word(), factor = word(), stride = word(), whole = word();
    float range;
    take(&range, sizeof range);
    float *mean = numbers(channels);
    Plane source = plane();
    num count = word();
    float *target = numbers(count);
    swin_finish(source.whole + source.first, source.stride, rows, columns, channels, factor, range, mean, target, stride,
                whole);
    return apart(target, numbers(count), count);
}

static double *doubles(num count)
{
    double *found = calloc(count, sizeof(double));
    take(found, count * sizeof(double));
    return found;
}

static num position(void)
{
    num places = word(), hidden = word(), heads = word(), count = heads * places;
    double *coordinates = doubles(2 * places), *found = calloc(count, sizeof(double));
    float *in = numbers(2 * hidden), *bias = numbers(hidden), *out = numbers(heads * hidden);
    swin_position(places, hidden, heads, coordinates, in, bias, out, found, calloc(places, sizeof(double)));
    return apart((float *)found, (float *)doubles(count), 2 * count);
}

static num bicubic(void)
{
    num factor = word(), channels = word(), top = word(), left = word(), rows = word(), columns = word();
    Box inside;
    take(&inside, sizeof inside);
    float *of = numbers(5 * factor);
    Plane source = plane(), target = plane();
    swin_bicubic(of, factor, channels, source.whole + source.first, source.stride, target.whole + target.first,
                 target.stride, top, left, rows, columns, &inside, zeros((columns / factor + 8) * channels));
    return apart(target.whole, numbers(target.count), target.count);
}

static num call(num kind)
{
    switch (kind) {
    case 1: return block();
    case 2: return stage();
    case 3: return learn();
    case 6: return norm();
    case 7: return finish();
    case 8: return position();
    case 9: return bicubic();
    default: return convolve(kind);
    }
}

int main(void)
{
#ifdef _WIN32
    _setmode(_fileno(stdin), _O_BINARY);
#endif
    num calls[9] = {0}, kind, found = 0;
    while ((kind = word())) {
        found += call(kind);
        calls[kind - 1]++;
    }
    for (int i = 0; i < 9; i++) printf("%d ", (int)calls[i]);
    printf("%d\n", (int)found);
    return 0;
}
