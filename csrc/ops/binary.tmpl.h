/* Kernels of ops/binary.h. One walk and one row serve all three; `what` and the operator are constants wherever a loop
 * is compiled, so each loop holds one expression. */
#include "ops/inplace.h"

#ifndef GCAM_BINARY_Y
#define GCAM_BINARY_Y 0
#define GCAM_BINARY_DA 1
#define GCAM_BINARY_DB 2
#endif

/* a^b as libm has it, quick where layer norms and polynomials need it. */
GCAM_INLINE real_t
GCAM_FN(power)(real_t a, real_t b)
{
    if (b == 1) {
        return a;
    }
    if (b == 2) {
        return a * a;
    }
    if (b == 3) {
        return a * a * a;
    }
#if GCAM_DTYPE_IS_F32
    return powf(a, b);
#else
    return pow(a, b);
#endif
}

/* The nearest integer, the even one of two. */
GCAM_INLINE real_t
GCAM_FN(nearest)(real_t x)
{
#if GCAM_DTYPE_IS_F32
    return rintf(x);
#else
    return rint(x);
#endif
}

GCAM_INLINE real_t
GCAM_FN(binary_element)(int what, gcam_binary_op op, real_t a, real_t b, real_t dy)
{
    switch (op) {
#define GCAM_BINARY(NAME, Y, DA, DB)                                                                                   \
    case GCAM_BINARY_##NAME:                                                                                           \
        return what == GCAM_BINARY_Y ? (real_t)(Y) : what == GCAM_BINARY_DA ? (real_t)(DA) : (real_t)(DB);
#include "ops/binary.inc"
#undef GCAM_BINARY
    case GCAM_BINARY_OPS:
        break;
    }
    return 0;
}

/* dy is not read for the output. An operand of stride 0 is one number, out of reach of the writes through `out`. */
GCAM_INLINE void
GCAM_FN(binary_loop)(int what, gcam_binary_op op, ptrdiff_t n, const real_t *a, ptrdiff_t a_stride, const real_t *b,
                     ptrdiff_t b_stride, const real_t *dy, real_t *out)
{
    const real_t a_first = a[0], b_first = b[0];
    const real_t *left = a_stride == 0 ? &a_first : a, *right = b_stride == 0 ? &b_first : b;
    GCAM_INPLACE_LOOP
    for (ptrdiff_t i = 0; i < n; i++) {
        out[i] = GCAM_FN(binary_element)(what, op, left[i * a_stride], right[i * b_stride],
                                         what == GCAM_BINARY_Y ? 0 : dy[i]);
    }
}

GCAM_INLINE void
GCAM_FN(binary_strides)(int what, gcam_binary_op op, ptrdiff_t n, const real_t *a, ptrdiff_t a_stride, const real_t *b,
                        ptrdiff_t b_stride, const real_t *dy, real_t *out)
{
    if (a_stride == 1 && b_stride == 1) {
        GCAM_FN(binary_loop)(what, op, n, a, 1, b, 1, dy, out);
    } else if (a_stride == 1 && b_stride == 0) {
        GCAM_FN(binary_loop)(what, op, n, a, 1, b, 0, dy, out);
    } else if (a_stride == 0 && b_stride == 1) {
        GCAM_FN(binary_loop)(what, op, n, a, 0, b, 1, dy, out);
    } else {
        GCAM_FN(binary_loop)(what, op, n, a, a_stride, b, b_stride, dy, out);
    }
}

GCAM_INLINE void
GCAM_FN(binary_walk)(int what, const gcam_binary_geom *g, const real_t *a, const real_t *b, const real_t *dy,
                     real_t *out, int worker, int workers)
{
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    if (begin == end) {
        return;
    }
    const ptrdiff_t last = g->rank - 1, a_stride = g->a_stride[last], b_stride = g->b_stride[last];
    gcam_binary_cursor at = gcam_binary_seek(g, begin);
    while (begin < end) {
        const ptrdiff_t row_left = g->shape[last] - at.index[last];
        const ptrdiff_t n = row_left < end - begin ? row_left : end - begin;
        const real_t *seed = what == GCAM_BINARY_Y ? NULL : dy + begin;
        switch (g->op) {
#define GCAM_BINARY(NAME, Y, DA, DB)                                                                                   \
    case GCAM_BINARY_##NAME:                                                                                           \
        GCAM_FN(binary_strides)(what, GCAM_BINARY_##NAME, n, a + at.a, a_stride, b + at.b, b_stride, seed,             \
                                out + begin);                                                                          \
        break;
#include "ops/binary.inc"
#undef GCAM_BINARY
        case GCAM_BINARY_OPS:
            break;
        }
        begin += n;
        gcam_binary_advance(g, &at, n);
    }
}

static void
GCAM_FN(binary_output)(const gcam_binary_geom *g, const real_t *a, const real_t *b, real_t *y, void *scratch,
                       int worker, int workers)
{
    (void)scratch;
    GCAM_FN(binary_walk)(GCAM_BINARY_Y, g, a, b, NULL, y, worker, workers);
}

static void
GCAM_FN(binary_a_grad)(const gcam_binary_geom *g, const real_t *a, const real_t *b, const real_t *dy, real_t *da,
                       void *scratch, int worker, int workers)
{
    (void)scratch;
    GCAM_FN(binary_walk)(GCAM_BINARY_DA, g, a, b, dy, da, worker, workers);
}

static void
GCAM_FN(binary_b_grad)(const gcam_binary_geom *g, const real_t *a, const real_t *b, const real_t *dy, real_t *db,
                       void *scratch, int worker, int workers)
{
    (void)scratch;
    GCAM_FN(binary_walk)(GCAM_BINARY_DB, g, a, b, dy, db, worker, workers);
}
