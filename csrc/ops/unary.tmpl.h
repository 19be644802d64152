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
#define GCAM_UNARY_GATE(NAME, F)                                                                                       \
    case GCAM_UNARY_##NAME: {                                                                                          \
        ptrdiff_t i = begin;                                                                                           \
        for (; i + VLANES <= end; i += VLANES) {                                                                       \
            V(store)(out + i, GCAM_FN(F)(V(load)(in + i)));                                                            \
        }                                                                                                              \
        if (i < end) {                                                                                                 \
            V(store_n)(out + i, GCAM_FN(F)(V(load_n)(in + i, end - i)), end - i);                                      \
        }                                                                                                              \
        break;                                                                                                         \
    }
#include "ops/unary.inc"
#undef GCAM_UNARY
#undef GCAM_UNARY_GATE
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
#define GCAM_UNARY_GATE(NAME, F)                                                                                       \
    case GCAM_UNARY_##NAME: {                                                                                          \
        ptrdiff_t i = begin;                                                                                           \
        for (; i + VLANES <= end; i += VLANES) {                                                                       \
            V(store)(in_grad + i, V(mul)(GCAM_FN(F##_slope)(V(load)(in + i)), V(load)(out_grad + i)));                 \
        }                                                                                                              \
        if (i < end) {                                                                                                 \
            const vreal dy = V(load_n)(out_grad + i, end - i);                                                         \
            V(store_n)(in_grad + i, V(mul)(GCAM_FN(F##_slope)(V(load_n)(in + i, end - i)), dy), end - i);              \
        }                                                                                                              \
        break;                                                                                                         \
    }
#include "ops/unary.inc"
#undef GCAM_UNARY
#undef GCAM_UNARY_GATE
    case GCAM_UNARY_OPS:
        break;
    }
}
#undef GCAM_LIBM
