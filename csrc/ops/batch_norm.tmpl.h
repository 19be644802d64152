/* Kernels of ops/batch_norm.h. With given statistics a worker owns a run of (n, c) planes, in training form whole
 * channels. */
#include "ops/inplace.h"

/* out = in scale + shift */
GCAM_INLINE void
GCAM_FN(batch_norm_plane)(ptrdiff_t count, const real_t *in, real_t scale, real_t shift, real_t *out)
{
    GCAM_INPLACE_LOOP
    for (ptrdiff_t i = 0; i < count; i++) {
        out[i] = in[i] * scale + shift;
    }
}

static void
GCAM_FN(batch_norm_output)(const gcam_batch_norm_geom *g, const real_t *x, const real_t *gamma, const real_t *beta,
                           const real_t *mean, const real_t *var, real_t *y, void *scratch, int worker, int workers)
{
    ptrdiff_t begin, end;
    gcam_share(g->n * g->c, worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        const ptrdiff_t c = plane % g->c;
        const double exact = (double)gamma[c] / sqrt((double)var[c] + g->epsilon);
        GCAM_FN(batch_norm_plane)(g->inner, x + plane * g->inner, (real_t)exact,
                                  (real_t)((double)beta[c] - (double)mean[c] * exact), y + plane * g->inner);
    }
}

static void
GCAM_FN(batch_norm_input_grad)(const gcam_batch_norm_geom *g, const real_t *dy, const real_t *gamma, const real_t *var,
                               real_t *dx, void *scratch, int worker, int workers)
{
    ptrdiff_t begin, end;
    gcam_share(g->n * g->c, worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        const ptrdiff_t c = plane % g->c;
        const real_t scale = (real_t)((double)gamma[c] / sqrt((double)var[c] + g->epsilon));
        const real_t *in = dy + plane * g->inner;
        real_t *out = dx + plane * g->inner;
        GCAM_INPLACE_LOOP
        for (ptrdiff_t i = 0; i < g->inner; i++) {
            out[i] = in[i] * scale;
        }
    }
}

GCAM_INLINE double
GCAM_FN(batch_norm_total)(double lane[BATCH_NORM_LANES])
{
    for (int width = BATCH_NORM_LANES / 2; width > 0; width /= 2) {
        for (int j = 0; j < width; j++) {
            lane[j] += lane[j + width];
        }
    }
    return lane[0];
}

/* Sum of a over a channel of all pictures. */
static double
GCAM_FN(batch_norm_sum)(const gcam_batch_norm_geom *g, const real_t *restrict a, ptrdiff_t c)
{
    double lane[BATCH_NORM_LANES] = {0};
    for (ptrdiff_t n = 0; n < g->n; n++) {
        const real_t *plane = a + (n * g->c + c) * g->inner;
        ptrdiff_t i = 0;
        for (; i + BATCH_NORM_LANES <= g->inner; i += BATCH_NORM_LANES) {
            for (int j = 0; j < BATCH_NORM_LANES; j++) {
                lane[j] += (double)plane[i + j];
            }
        }
        for (int j = 0; i + j < g->inner; j++) {
            lane[j] += (double)plane[i + j];
        }
    }
    return GCAM_FN(batch_norm_total)(lane);
}

/* Sum of (a - a0) (b - b0) over a channel of all pictures; a and b may be the same array. */
static double
GCAM_FN(batch_norm_product)(const gcam_batch_norm_geom *g, const real_t *a, double a0, const real_t *b, double b0,
                            ptrdiff_t c)
{
    double lane[BATCH_NORM_LANES] = {0};
    for (ptrdiff_t n = 0; n < g->n; n++) {
        const ptrdiff_t place = (n * g->c + c) * g->inner;
        const real_t *left = a + place, *right = b + place;
        ptrdiff_t i = 0;
        for (; i + BATCH_NORM_LANES <= g->inner; i += BATCH_NORM_LANES) {
            for (int j = 0; j < BATCH_NORM_LANES; j++) {
                lane[j] += ((double)left[i + j] - a0) * ((double)right[i + j] - b0);
            }
        }
        for (int j = 0; i + j < g->inner; j++) {
            lane[j] += ((double)left[i + j] - a0) * ((double)right[i + j] - b0);
        }
    }
    return GCAM_FN(batch_norm_total)(lane);
}

static void
GCAM_FN(batch_norm_train_output)(const gcam_batch_norm_geom *g, const real_t *x, const real_t *gamma,
                                 const real_t *beta, real_t *y, real_t *mean, real_t *var, void *scratch, int worker,
                                 int workers)
{
    const double count = (double)(g->n * g->inner);
    ptrdiff_t begin, end;
    gcam_share(g->c, worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t c = begin; c < end; c++) {
        const double centre = GCAM_FN(batch_norm_sum)(g, x, c) / count;
        const double square = GCAM_FN(batch_norm_product)(g, x, centre, x, centre, c) / count;
        const double scale = (double)gamma[c] / sqrt(square + g->epsilon);
        const double shift = (double)beta[c] - centre * scale;
        mean[c] = (real_t)centre;
        var[c] = (real_t)square;
        for (ptrdiff_t n = 0; n < g->n; n++) {
            const ptrdiff_t place = (n * g->c + c) * g->inner;
            GCAM_FN(batch_norm_plane)(g->inner, x + place, (real_t)scale, (real_t)shift, y + place);
        }
    }
}

static void
GCAM_FN(batch_norm_train_grad)(const gcam_batch_norm_geom *g, const real_t *dy, const real_t *x, const real_t *gamma,
                               const real_t *mean, const real_t *var, real_t *dx, real_t *dgamma, real_t *dbeta,
                               void *scratch, int worker, int workers)
{
    const double count = (double)(g->n * g->inner);
    ptrdiff_t begin, end;
    gcam_share(g->c, worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t c = begin; c < end; c++) {
        const double inverse = 1 / sqrt((double)var[c] + g->epsilon);
        const double sum = GCAM_FN(batch_norm_sum)(g, dy, c);
        const double product = GCAM_FN(batch_norm_product)(g, dy, 0, x, (double)mean[c], c) * inverse;
        const double scale = (double)gamma[c] * inverse;
        const real_t own = (real_t)scale, other = (real_t)(-scale * inverse * product / count);
        const real_t shift = (real_t)(-scale * sum / count), centre = mean[c];
        dbeta[c] = (real_t)sum;
        dgamma[c] = (real_t)product;
        for (ptrdiff_t n = 0; n < g->n; n++) {
            const ptrdiff_t place = (n * g->c + c) * g->inner;
            const real_t *in = dy + place, *from = x + place;
            real_t *out = dx + place;
            GCAM_INPLACE_LOOP
            for (ptrdiff_t i = 0; i < g->inner; i++) {
                out[i] = in[i] * own + ((from[i] - centre) * other + shift);
            }
        }
    }
}
