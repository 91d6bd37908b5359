/* Calls of the kernels, read from a file with what they gave elsewhere: how far apart are they here?

   Words of eight bytes, numbers of four. A call is its kind (1: swin_block, 2: swin_stage), the weights, then where and
   on what; 0 ends the file. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { long top, bottom, left, right; } Box;
typedef struct { long dim, heads, window, hidden, post_norm, cosine; float eps; const float *weights[14]; } Block;
typedef struct { long dim; float eps; const float *weights[6]; } Stage;

long swin_scratch(const Block *b);
long swin_row(const Block *b);
long swin_stage_scratch(const Stage *s);
void swin_block(const Block *b, float *first, long stride, long down, long across, const Box *inside, float *scratch);
void swin_stage(const Stage *s, const float *source, long source_stride, float *target, long target_stride, long rows,
                long columns, const Box *inside, float *scratch);

static void take(void *to, size_t bytes)
{
    if (fread(to, 1, bytes, stdin) != bytes) exit(2);
}

static long word(void)
{
    long found;
    take(&found, sizeof found);
    return found;
}

static float *numbers(long count)
{
    float *found = count ? aligned_alloc(64, (count * sizeof(float) + 127) / 64 * 64) : 0;
    take(found, count * sizeof(float));
    return found;
}

static void weights(const float **found, int count)
{
    for (int i = 0; i < count; i++) found[i] = numbers(word());
}

/* The position bias comes in rows as long as vectors are there; here they may have another length. */
static const float *in_rows(const Block *b, const float *bias, long row)
{
    long pixels = b->window * b->window, mine = swin_row(b);
    float *found = aligned_alloc(64, (b->heads * pixels * mine * sizeof(float) + 127) / 64 * 64);
    memset(found, 0, b->heads * pixels * mine * sizeof(float));
    for (long i = 0; i < b->heads * pixels; i++) memcpy(found + i * mine, bias + i * row, pixels * sizeof(float));
    return found;
}

static double apart(const float *a, const float *b, long count)
{
    double most = 0;
    for (long i = 0; i < count; i++)
        if (!(fabs(a[i] - b[i]) <= most)) most = fabs(a[i] - b[i]); /* NaN too */
    return most;
}

static double block(void)
{
    Block b;
    take(&b, 6 * sizeof(long));
    take(&b.eps, sizeof b.eps);
    long row = word();
    weights(b.weights, 14);
    b.weights[3] = in_rows(&b, b.weights[3], row);
    long count = word(), first = word(), stride = word(), down = word(), across = word();
    Box inside;
    take(&inside, sizeof inside);
    float *plane = numbers(count), *expected = numbers(count);
    swin_block(&b, plane + first, stride, down, across, &inside, malloc(swin_scratch(&b) * sizeof(float)));
    return apart(plane, expected, count);
}

static double stage(void)
{
    Stage s;
    take(&s.dim, sizeof s.dim);
    take(&s.eps, sizeof s.eps);
    weights(s.weights, 6);
    long count = word(), first = word(), stride = word(), rows = word(), columns = word();
    Box inside;
    take(&inside, sizeof inside);
    float *source = numbers(count), *target = numbers(count), *expected = numbers(count);
    float *scratch = malloc(swin_stage_scratch(&s) * sizeof(float));
    swin_stage(&s, source + first, stride, target + first, stride, rows, columns, &inside, scratch);
    return apart(target, expected, count);
}

int main(void)
{
    long calls[2] = {0}, kind;
    double most = 0;
    while ((kind = word())) {
        double found = kind == 1 ? block() : stage();
        if (!(found <= most)) most = found;
        calls[kind - 1]++;
    }
    printf("%ld %ld %g\n", calls[0], calls[1], most);
    return 0;
}
