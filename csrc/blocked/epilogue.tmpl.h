/* Epilogue and border of blocked tensors (blocked/blocked.h). */
#include "ops/inplace.h"

#define GCAM_LIBM(function, x) ((real_t)function((double)(x)))

/* y = f(y + r) for `count` elements that lie together, whole vectors; r may be NULL. */
static void
GCAM_FN(blocked_finish)(const gcam_epilogue *e, const real_t *r, real_t *y, ptrdiff_t count)
{
    const real_t alpha = (real_t)e->alpha, beta = (real_t)e->beta;
    if (r != NULL) {
        GCAM_INPLACE_LOOP
        for (ptrdiff_t i = 0; i < count; i++) {
            y[i] += r[i];
        }
    }
    switch ((gcam_unary_op)e->op) {
#define GCAM_UNARY(NAME, Y, DX)                                                                                        \
    case GCAM_UNARY_##NAME:                                                                                            \
        GCAM_INPLACE_LOOP                                                                                              \
        for (ptrdiff_t i = 0; i < count; i++) {                                                                        \
            const real_t x = y[i];                                                                                     \
            y[i] = Y;                                                                                                  \
        }                                                                                                              \
        break;
#define GCAM_UNARY_GATE(NAME, F)                                                                                       \
    case GCAM_UNARY_##NAME:                                                                                            \
        for (ptrdiff_t i = 0; i < count; i += VLANES) {                                                                \
            V(store)(y + i, GCAM_FN(F)(V(load)(y + i)));                                                               \
        }                                                                                                              \
        break;
#include "ops/unary.inc"
#undef GCAM_UNARY
#undef GCAM_UNARY_GATE
    case GCAM_UNARY_OPS:
    default:
        break;
    }
    (void)alpha, (void)beta;
}
#undef GCAM_LIBM

/* Zeros into the border of blocks [first, last) (counted over all pictures). */
static void
GCAM_FN(blocked_border)(const gcam_blocked *t, real_t *y, ptrdiff_t first, ptrdiff_t last)
{
    gcam_blocked_border(t, y, sizeof *y, first, last);
}
