/* Products of small matrices in registers, and a few functions, on whatever vectors the machine has.

   The same bits everywhere: the compiler contracts nothing (-ffp-contract=off), every fused multiply-add is written
   as one, sums go one after another down the rows, so that no order depends on the number of lanes, and the functions
   are our own. Division and square root are exact by IEEE 754. */

#include <stddef.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* A count or an index: 64 bits on Windows too, where a long has 32. `ctypes.c_ssize_t`. */
typedef ptrdiff_t num;

/* Numbers in a vector: as many as the machine has room for, unless -DLANES chooses. */
#if !defined(LANES)
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
/* Vectors beside each other in registers. With 6 rows they hold 12 sums, enough for two units that take 4 cycles for a
   multiply-add, and narrow strips stay in the first-level cache; ARM processors have up to four such units. */
#define ACROSS (LANES == 4 ? 4 : 2)
#define ROWS 6
#define STRIP (LANES * ACROSS)

#define INLINE static inline __attribute__((always_inline))

/* Unroll the loop that follows, of at most so many turns. Given a count, clang 16 leaves shorter loops as they are, at
   7 % of the lightweight network's time. */
#define PRAGMA(words) _Pragma(#words)
#if defined(__clang__)
#define UNROLL(most) PRAGMA(clang loop unroll(full))
#else
#define UNROLL(most) PRAGMA(GCC unroll most)
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int ivec __attribute__((vector_size(4 * LANES)));

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec spread(float f) { return f - (vec){0}; }

/* a * b + c, rounded once. */
#if defined(__AVX512F__) && LANES == 16
INLINE vec fused(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__FMA__) && LANES == 8
INLINE vec fused(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__FMA__) && LANES == 4
INLINE vec fused(vec a, vec b, vec c) { return _mm_fmadd_ps(a, b, c); }
#elif defined(__aarch64__) && LANES == 4
INLINE vec fused(vec a, vec b, vec c) { return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
INLINE vec fused(vec a, vec b, vec c)
{
    for (int i = 0; i < LANES; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
#endif

/* Where one of both is NaN: b. */
#if defined(__AVX512F__) && LANES == 16
INLINE vec larger(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec root(vec a) { return _mm512_sqrt_ps(a); }
#elif defined(__AVX__) && LANES == 8
INLINE vec larger(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec root(vec a) { return _mm256_sqrt_ps(a); }
#else
INLINE vec larger(vec a, vec b)
{
    ivec pick = a > b;
    return (vec)(((ivec)a & pick) | ((ivec)b & ~pick));
}
INLINE vec root(vec a)
{
    for (int i = 0; i < LANES; i++) a[i] = __builtin_sqrtf(a[i]);
    return a;
}
#endif

/* e^x for x <= 0, within 3e-7 of it: 2^n by the exponent's bits, the rest by its series. */
INLINE vec exponential(vec x)
{
    x = larger(spread(-87.0f), x);
    /* 1.5 * 2^23: the last bits are the nearest whole number */
    vec n = fused(x, spread(1.44269504088896341f), spread(12582912.0f));
    ivec bits = (ivec)n << 23;
    n -= 12582912.0f;
    vec r = fused(n, spread(-0.693145751953125f), x); /* ln 2 in two parts */
    r = fused(n, spread(-1.42860682030941723e-6f), r);
    vec s = fused(r, spread(1.0f / 720), spread(1.0f / 120));
    s = fused(r, s, spread(1.0f / 24));
    s = fused(r, s, spread(1.0f / 6));
    s = fused(r, s, spread(0.5f));
    s = fused(r, s, spread(1.0f));
    s = fused(r, s, spread(1.0f));
    return (vec)((ivec)s + bits);
}

/* erf within 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26. */
INLINE vec error_function(vec x)
{
    ivec sign = (ivec)x & (ivec)spread(-0.0f);
    vec z = (vec)((ivec)x ^ sign);
    vec t = 1.0f / fused(z, spread(0.3275911f), spread(1.0f));
    vec s = fused(t, spread(1.061405429f), spread(-1.453152027f));
    s = fused(t, s, spread(1.421413741f));
    s = fused(t, s, spread(-0.284496736f));
    s = fused(t, s, spread(0.254829592f));
    vec y = fused(-(t * s), exponential(-z * z), spread(1.0f));
    return (vec)((ivec)y | sign);
}

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES 1
#endif
#endif

typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));

/* to[c][r] = from[r][c] for r < rows <= 8 and c < columns <= 8; with 8 columns, to[c] gets zeros behind its rows. */
INLINE void transpose(const float *from, num from_row, int rows, int columns, float *to, num to_row)
{
#ifdef SHUFFLES
    if (columns == 8) {
        eight a[8] = {{0}}, b[8];
        for (int r = 0; r < rows; r++) a[r] = *(const eight *)(from + r * from_row);
        UNROLL(4)
        for (int i = 0; i < 8; i += 2) {
            b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
            b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
        }
        UNROLL(2)
        for (int i = 0; i < 8; i += 4)
            UNROLL(2)
            for (int j = 0; j < 2; j++) {
                a[i + 2 * j] = __builtin_shufflevector(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
                a[i + 2 * j + 1] = __builtin_shufflevector(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
            }
        UNROLL(4)
        for (int i = 0; i < 4; i++) {
            *(eight *)(to + i * to_row) = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
            *(eight *)(to + (i + 4) * to_row) = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        }
        return;
    }
#endif
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) to[c * to_row + r] = from[r * from_row + c];
}

/* The first of eight channels that contain channel k: the last eight of them where fewer are left. */
INLINE num group_of_eight(num k, num channels) { return k + 8 <= channels || channels < 8 ? k : channels - 8; }

/* Rows and columns, from the first to behind the last. */
typedef struct {
    num top, bottom, left, right;
} Box;

/* A left factor: element (i, k) of a group of up to 6 rows lies at i * row + k * column. */
typedef struct {
    const float *data;
    num row, column, group; /* group: from one group of 6 rows to the next */
} Matrix;

INLINE Matrix packed(const float *data, num columns) { return (Matrix){data, 1, ROWS, ROWS * columns}; }

/* `rows` x `across` vectors of a product, summed over `taps` right factors; rows, across and taps are constants
   where this is inlined. */
INLINE void tile(const int rows, const int across, const int taps, const float *a, num row, num column, num depth,
                 const float *const *b, num b_row, const float *start, num start_row, float *out, num out_row)
{
    vec sum[ROWS][ACROSS];
    UNROLL(6)
    for (int i = 0; i < rows; i++)
        UNROLL(4)
        for (int j = 0; j < across; j++) {
            if (!start) sum[i][j] = spread(0.0f);
            else if (start_row) sum[i][j] = load(start + i * start_row + j * LANES);
            else sum[i][j] = spread(start[i]);
        }
    for (int t = 0; t < taps; t++, a += depth * column) {
        const float *from = b[t];
        for (num k = 0; k < depth; k++) {
            vec right[ACROSS];
            UNROLL(4)
            for (int j = 0; j < across; j++) right[j] = load(from + k * b_row + j * LANES);
            UNROLL(6)
            for (int i = 0; i < rows; i++) {
                vec left = spread(a[i * row + k * column]);
                UNROLL(4)
                for (int j = 0; j < across; j++) sum[i][j] = fused(left, right[j], sum[i][j]);
            }
        }
    }
    UNROLL(6)
    for (int i = 0; i < rows; i++)
        UNROLL(4)
        for (int j = 0; j < across; j++) store(out + i * out_row + j * LANES, sum[i][j]);
}

#define EACH_REST(rows, CASE) \
    switch ((rows) < ROWS ? (rows) : ROWS) { \
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) \
    }

/* A strip of a product: out (rows, `across` vectors) = start + a (rows, depth) . b (depth, `across` vectors); *_row:
   from one row to the next. `start`: none, a number for each row (start_row = 0), or a matrix. */
INLINE void multiply_strip(const int across, Matrix a, num rows, num depth, const float *b, num b_row,
                           const float *start, num start_row, float *out, num out_row)
{
    for (num r = 0; r < rows; r += ROWS) {
        const float *left = a.data + r / ROWS * a.group;
        const float *from = !start ? 0 : start_row ? start + r * start_row : start + r;
#define CASE(n) \
    case n: \
        tile(n, across, 1, left, a.row, a.column, depth, &b, b_row, from, start_row, out + r * out_row, out_row); \
        break;
        EACH_REST(rows - r, CASE)
#undef CASE
    }
}

/* The same for px pixels, a multiple of `across` vectors: the rows of b, out and a matrix `start` are px long. */
INLINE void multiply(const int across, Matrix a, num rows, num depth, const float *b, num px, const float *start,
                     num start_row, float *out)
{
    for (num p = 0; p < px; p += across * LANES)
        multiply_strip(across, a, rows, depth, b + p, px, start && start_row ? start + p : start, start_row, out + p,
                       px);
}
