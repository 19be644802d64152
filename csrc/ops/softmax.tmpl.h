/* Kernels of ops/softmax.h. A contiguous axis is worked as rows, where the sums run in GCAM_SOFTMAX_LANES lanes that
 * are added at the end; a strided one as tiles of GCAM_SOFTMAX_TILE neighbouring columns, each with a sum of its own. A
 * worker owns rows or tiles. */
#include "ops/inplace.h"

#ifndef GCAM_SOFTMAX_LANES
#define GCAM_SOFTMAX_LANES 8
#define GCAM_SOFTMAX_TILE 64
#endif

/* NaN is passed over: the sum will find it. */
GCAM_INLINE real_t
GCAM_FN(larger)(real_t x, real_t m)
{
    return x > m ? x : m;
}

static real_t
GCAM_FN(softmax_row_max)(const real_t *x, ptrdiff_t n)
{
    real_t lane[GCAM_SOFTMAX_TILE];
    for (ptrdiff_t j = 0; j < GCAM_SOFTMAX_TILE; j++) {
        lane[j] = -(real_t)INFINITY;
    }
    const ptrdiff_t body = n - n % GCAM_SOFTMAX_TILE;
    for (ptrdiff_t i = 0; i < body; i += GCAM_SOFTMAX_TILE) {
        for (ptrdiff_t j = 0; j < GCAM_SOFTMAX_TILE; j++) {
            lane[j] = GCAM_FN(larger)(x[i + j], lane[j]);
        }
    }
    real_t m = -(real_t)INFINITY;
    for (ptrdiff_t i = body; i < n; i++) {
        m = GCAM_FN(larger)(x[i], m);
    }
    for (ptrdiff_t j = 0; j < GCAM_SOFTMAX_TILE; j++) {
        m = GCAM_FN(larger)(lane[j], m);
    }
    return m;
}

/* lane[i mod LANES] += x[i] y[i], or x[i] without y. x begins at a multiple of LANES of its row. */
GCAM_INLINE void
GCAM_FN(softmax_add)(double *restrict lane, const real_t *restrict x, const real_t *restrict y, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + GCAM_SOFTMAX_LANES <= n; i += GCAM_SOFTMAX_LANES) {
        for (ptrdiff_t j = 0; j < GCAM_SOFTMAX_LANES; j++) {
            lane[j] += y == NULL ? (double)x[i + j] : (double)x[i + j] * (double)y[i + j];
        }
    }
    for (ptrdiff_t j = 0; i < n; i++, j++) {
        lane[j] += y == NULL ? (double)x[i] : (double)x[i] * (double)y[i];
    }
}

GCAM_INLINE double
GCAM_FN(softmax_lanes)(const double *lane)
{
    double sum = 0;
    for (ptrdiff_t j = 0; j < GCAM_SOFTMAX_LANES; j++) {
        sum += lane[j];
    }
    return sum;
}

static void
GCAM_FN(softmax_row)(ptrdiff_t n, int log_flag, const real_t *x, real_t *y)
{
    const real_t m = GCAM_FN(softmax_row_max)(x, n);
    double lane[GCAM_SOFTMAX_LANES] = {0};
    for (ptrdiff_t i = 0; i < n; i += GCAM_SOFTMAX_TILE) {
        real_t e[GCAM_SOFTMAX_TILE];
        const ptrdiff_t left = n - i < GCAM_SOFTMAX_TILE ? n - i : GCAM_SOFTMAX_TILE;
        for (ptrdiff_t j = 0; j < left; j++) {
            e[j] = GCAM_FN(exp)(x[i + j] - m);
        }
        GCAM_FN(softmax_add)(lane, e, NULL, left);
        if (!log_flag) {
            memcpy(y + i, e, (size_t)left * sizeof *e);
        }
    }
    const double sum = GCAM_FN(softmax_lanes)(lane);
    if (log_flag) {
        const double log_sum = log(sum);
        GCAM_INPLACE_LOOP
        for (ptrdiff_t i = 0; i < n; i++) {
            y[i] = (real_t)((double)(x[i] - m) - log_sum);
        }
    } else {
        const double factor = 1 / sum;
        for (ptrdiff_t i = 0; i < n; i++) {
            y[i] = (real_t)((double)y[i] * factor);
        }
    }
}

/* The columns [0, width) of x, `rows` rows `step` elements apart, width <= GCAM_SOFTMAX_TILE. */
static void
GCAM_FN(softmax_columns)(ptrdiff_t rows, ptrdiff_t step, ptrdiff_t width, int log_flag, const real_t *x, real_t *y)
{
    real_t m[GCAM_SOFTMAX_TILE];
    double sum[GCAM_SOFTMAX_TILE] = {0};
    memcpy(m, x, (size_t)width * sizeof *m);
    for (ptrdiff_t k = 1; k < rows; k++) {
        for (ptrdiff_t j = 0; j < width; j++) {
            m[j] = GCAM_FN(larger)(x[k * step + j], m[j]);
        }
    }
    for (ptrdiff_t k = 0; k < rows; k++) {
        real_t e[GCAM_SOFTMAX_TILE];
        for (ptrdiff_t j = 0; j < width; j++) {
            e[j] = GCAM_FN(exp)(x[k * step + j] - m[j]);
            sum[j] += (double)e[j];
        }
        if (!log_flag) {
            memcpy(y + k * step, e, (size_t)width * sizeof *e);
        }
    }
    for (ptrdiff_t j = 0; j < width; j++) {
        sum[j] = log_flag ? log(sum[j]) : 1 / sum[j];
    }
    for (ptrdiff_t k = 0; k < rows; k++) {
        GCAM_INPLACE_LOOP
        for (ptrdiff_t j = 0; j < width; j++) {
            const ptrdiff_t i = k * step + j;
            y[i] = (real_t)(log_flag ? (double)(x[i] - m[j]) - sum[j] : (double)y[i] * sum[j]);
        }
    }
}

/* `total` is the sum of y, which rounding leaves beside 1. Where one y is nearly 1 and dy stands at it alone, dy - sum
 * would be the rounding error of that y; dy total - sum is the sum of all others. */
GCAM_INLINE real_t
GCAM_FN(softmax_slope)(int log_flag, real_t y, real_t dy, double sum, double total)
{
    return (real_t)(log_flag ? (double)dy - (double)GCAM_FN(exp)(y) * sum : (double)y * ((double)dy * total - sum));
}

static void
GCAM_FN(softmax_grad_row)(ptrdiff_t n, int log_flag, const real_t *y, const real_t *dy, real_t *dx)
{
    double lane[GCAM_SOFTMAX_LANES] = {0}, whole[GCAM_SOFTMAX_LANES] = {0};
    GCAM_FN(softmax_add)(lane, dy, log_flag ? NULL : y, n);
    GCAM_FN(softmax_add)(whole, y, NULL, n);
    const double sum = GCAM_FN(softmax_lanes)(lane), total = GCAM_FN(softmax_lanes)(whole);
    GCAM_INPLACE_LOOP
    for (ptrdiff_t i = 0; i < n; i++) {
        dx[i] = GCAM_FN(softmax_slope)(log_flag, y[i], dy[i], sum, total);
    }
}

static void
GCAM_FN(softmax_grad_columns)(ptrdiff_t rows, ptrdiff_t step, ptrdiff_t width, int log_flag, const real_t *y,
                              const real_t *dy, real_t *dx)
{
    double sum[GCAM_SOFTMAX_TILE] = {0}, total[GCAM_SOFTMAX_TILE] = {0};
    for (ptrdiff_t k = 0; k < rows; k++) {
        for (ptrdiff_t j = 0; j < width; j++) {
            const ptrdiff_t i = k * step + j;
            sum[j] += log_flag ? (double)dy[i] : (double)y[i] * (double)dy[i];
            total[j] += (double)y[i];
        }
    }
    for (ptrdiff_t k = 0; k < rows; k++) {
        GCAM_INPLACE_LOOP
        for (ptrdiff_t j = 0; j < width; j++) {
            const ptrdiff_t i = k * step + j;
            dx[i] = GCAM_FN(softmax_slope)(log_flag, y[i], dy[i], sum[j], total[j]);
        }
    }
}

/* Offset and width of unit `unit` of work: a row, or a tile of columns. */
GCAM_INLINE ptrdiff_t
GCAM_FN(softmax_unit)(const gcam_softmax_geom *g, ptrdiff_t unit, ptrdiff_t *width)
{
    const ptrdiff_t tiles = (g->inner - 1) / GCAM_SOFTMAX_TILE + 1;
    const ptrdiff_t column = unit % tiles * GCAM_SOFTMAX_TILE, left = g->inner - column;
    *width = left < GCAM_SOFTMAX_TILE ? left : GCAM_SOFTMAX_TILE;
    return unit / tiles * g->axis * g->inner + column;
}

static void
GCAM_FN(softmax_output)(const gcam_softmax_geom *g, const real_t *x, real_t *y, void *scratch, int worker, int workers)
{
    ptrdiff_t begin, end, width;
    gcam_share(g->outer * ((g->inner - 1) / GCAM_SOFTMAX_TILE + 1), worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        const ptrdiff_t offset = GCAM_FN(softmax_unit)(g, unit, &width);
        if (g->inner == 1) {
            GCAM_FN(softmax_row)(g->axis, g->log, x + offset, y + offset);
        } else {
            GCAM_FN(softmax_columns)(g->axis, g->inner, width, g->log, x + offset, y + offset);
        }
    }
}

static void
GCAM_FN(softmax_input_grad)(const gcam_softmax_geom *g, const real_t *y, const real_t *dy, real_t *dx, void *scratch,
                            int worker, int workers)
{
    ptrdiff_t begin, end, width;
    gcam_share(g->outer * ((g->inner - 1) / GCAM_SOFTMAX_TILE + 1), worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        const ptrdiff_t offset = GCAM_FN(softmax_unit)(g, unit, &width);
        if (g->inner == 1) {
            GCAM_FN(softmax_grad_row)(g->axis, g->log, y + offset, dy + offset, dx + offset);
        } else {
            GCAM_FN(softmax_grad_columns)(g->axis, g->inner, width, g->log, y + offset, dy + offset, dx + offset);
        }
    }
}
