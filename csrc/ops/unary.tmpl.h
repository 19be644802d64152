/* Kernels of ops/unary.h: one loop per function, chosen once per call. */
#include "ops/inplace.h"

/* Rare functions are computed in double for both types: no polynomials of their own to keep. */
#define GCAM_LIBM(function, x) ((real_t)function((double)(x)))

static void
GCAM_FN(unary_output)(const gcam_unary_geom *g, const real_t *in, real_t *out, void *scratch, int worker, int workers)
{
    const real_t alpha = (real_t)g->alpha, beta = (real_t)g->beta;
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    (void)scratch;
    switch (g->op) {
#define GCAM_UNARY(NAME, Y, DX)                                                                                        \
    case GCAM_UNARY_##NAME:                                                                                            \
        GCAM_INPLACE_LOOP                                                                                              \
        for (ptrdiff_t i = begin; i < end; i++) {                                                                      \
            const real_t x = in[i];                                                                                    \
            out[i] = Y;                                                                                                \
        }                                                                                                              \
        break;
#include "ops/unary.inc"
#undef GCAM_UNARY
    case GCAM_UNARY_OPS:
        break;
    }
}

static void
GCAM_FN(unary_input_grad)(const gcam_unary_geom *g, const real_t *in, const real_t *out_grad, real_t *in_grad,
                          void *scratch, int worker, int workers)
{
    const real_t alpha = (real_t)g->alpha, beta = (real_t)g->beta;
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    (void)scratch;
    switch (g->op) {
#define GCAM_UNARY(NAME, Y, DX)                                                                                        \
    case GCAM_UNARY_##NAME:                                                                                            \
        GCAM_INPLACE_LOOP                                                                                              \
        for (ptrdiff_t i = begin; i < end; i++) {                                                                      \
            const real_t x = in[i], dy = out_grad[i];                                                                  \
            (void)x, (void)dy; /* where the slope is constant, or 0 */                                                 \
            in_grad[i] = DX;                                                                                           \
        }                                                                                                              \
        break;
#include "ops/unary.inc"
#undef GCAM_UNARY
    case GCAM_UNARY_OPS:
        break;
    }
}
#undef GCAM_LIBM
