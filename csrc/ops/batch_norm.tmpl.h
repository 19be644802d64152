/* Kernels of ops/batch_norm.h. A worker owns a run of (n, c) planes. */
#include "ops/inplace.h"

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
        const real_t scale = (real_t)exact, shift = (real_t)((double)beta[c] - (double)mean[c] * exact);
        const real_t *in = x + plane * g->inner;
        real_t *out = y + plane * g->inner;
        GCAM_INPLACE_LOOP
        for (ptrdiff_t i = 0; i < g->inner; i++) {
            out[i] = in[i] * scale + shift;
        }
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
