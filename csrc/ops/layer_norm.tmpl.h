/* Kernels of ops/layer_norm.h. A worker owns rows; what a row needs several times stays in the first-level cache. */
#include "ops/inplace.h"

#ifndef GCAM_LAYER_NORM_SUMS
#define GCAM_LAYER_NORM_SUMS 4 /* vectors of partial sums */
#endif

/* n numbers of p as doubles, `pad` in the other lanes. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(layer_norm_load)(const real_t *p, ptrdiff_t n, double pad)
{
    if (n >= GCAM_LANES_F64) {
        return V(widen)(p);
    }
    gcam_vec_f64 v = gcam_set1_f64(pad);
    for (ptrdiff_t i = 0; i < n; i++) {
        v[i] = (double)p[i];
    }
    return v;
}

/* Lanes i... of what is summed over a row: a b c^power, where b may be NULL (ones), and c is x - centre. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(layer_norm_term)(const int power, const real_t *a, const real_t *b, const real_t *x, double centre, ptrdiff_t i,
                         ptrdiff_t left)
{
    gcam_vec_f64 term = gcam_set1_f64(1);
    if (a != NULL) {
        term = GCAM_FN(layer_norm_load)(a + i, left, 0);
    }
    if (b != NULL) {
        term = gcam_mul_f64(term, GCAM_FN(layer_norm_load)(b + i, left, 0));
    }
    for (int k = 0; k < power; k++) {
        term = gcam_mul_f64(term, gcam_sub_f64(GCAM_FN(layer_norm_load)(x + i, left, centre), gcam_set1_f64(centre)));
    }
    return term;
}

GCAM_INLINE double
GCAM_FN(layer_norm_mean)(const int power, ptrdiff_t n, const real_t *a, const real_t *b, const real_t *x, double centre)
{
    enum { W = GCAM_LANES_F64, SUMS = GCAM_LAYER_NORM_SUMS };
    gcam_vec_f64 sum[SUMS] = {{0}};
    ptrdiff_t i = 0;
    for (; i + SUMS * W <= n; i += SUMS * W) {
#pragma GCC unroll 4
        for (int s = 0; s < SUMS; s++) {
            sum[s] = gcam_add_f64(sum[s], GCAM_FN(layer_norm_term)(power, a, b, x, centre, i + s * W, W));
        }
    }
    for (int s = 0; i < n; i += W, s++) {
        sum[s] = gcam_add_f64(sum[s], GCAM_FN(layer_norm_term)(power, a, b, x, centre, i, n - i));
    }
    for (int s = 1; s < SUMS; s++) {
        sum[0] = gcam_add_f64(sum[0], sum[s]);
    }
    return gcam_sum_f64(sum[0]) / (double)n;
}

/* Mean of a row, and 1 / sqrt(var + epsilon). */
GCAM_INLINE double
GCAM_FN(layer_norm_statistics)(const gcam_layer_norm_geom *g, const real_t *x, double *inverse)
{
    const double mean = GCAM_FN(layer_norm_mean)(0, g->n, x, NULL, NULL, 0);
    *inverse = 1 / sqrt(GCAM_FN(layer_norm_mean)(2, g->n, NULL, NULL, x, mean) + g->epsilon);
    return mean;
}

/* `left` numbers, no more than a vector. */
GCAM_INLINE vreal
GCAM_FN(layer_norm_lanes)(const real_t *p, ptrdiff_t left)
{
    return left >= VLANES ? V(load)(p) : V(load_n)(p, left);
}

GCAM_INLINE void
GCAM_FN(layer_norm_put)(real_t *p, vreal v, ptrdiff_t left)
{
    if (left >= VLANES) {
        V(store)(p, v);
    } else {
        V(store_n)(p, v, left);
    }
}

static void
GCAM_FN(layer_norm_output)(const gcam_layer_norm_geom *g, const real_t *x, const real_t *gamma, const real_t *beta,
                           real_t *y, void *scratch, int worker, int workers)
{
    ptrdiff_t begin, end;
    gcam_share(g->rows, worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t row = begin; row < end; row++) {
        const real_t *in = x + row * g->n;
        real_t *out = y + row * g->n;
        double inverse;
        const double mean = GCAM_FN(layer_norm_statistics)(g, in, &inverse);
        /* in two parts: rounding it would shift a row whose mean is large */
        const real_t high = (real_t)mean, low = (real_t)(mean - (double)high);
        const vreal scale = V(set1)((real_t)inverse);
        for (ptrdiff_t i = 0; i < g->n; i += VLANES) {
            const ptrdiff_t left = g->n - i;
            vreal v = V(sub)(V(sub)(GCAM_FN(layer_norm_lanes)(in + i, left), V(set1)(high)), V(set1)(low));
            v = V(mul)(v, scale);
            if (gamma != NULL) {
                v = V(mul)(v, GCAM_FN(layer_norm_lanes)(gamma + i, left));
            }
            if (beta != NULL) {
                v = V(add)(v, GCAM_FN(layer_norm_lanes)(beta + i, left));
            }
            GCAM_FN(layer_norm_put)(out + i, v, left);
        }
    }
}

static void
GCAM_FN(layer_norm_input_grad)(const gcam_layer_norm_geom *g, const real_t *x, const real_t *gamma, const real_t *dy,
                               real_t *dx, void *scratch, int worker, int workers)
{
    ptrdiff_t begin, end;
    gcam_share(g->rows, worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t row = begin; row < end; row++) {
        const real_t *in = x + row * g->n, *grad = dy + row * g->n;
        real_t *out = dx + row * g->n;
        double inverse;
        const double mean = GCAM_FN(layer_norm_statistics)(g, in, &inverse);
        const double shift = GCAM_FN(layer_norm_mean)(0, g->n, grad, gamma, NULL, 0);
        const double slope = GCAM_FN(layer_norm_mean)(1, g->n, grad, gamma, in, mean) * inverse * inverse;
        const real_t high = (real_t)mean, low = (real_t)(mean - (double)high);
        for (ptrdiff_t i = 0; i < g->n; i += VLANES) {
            const ptrdiff_t left = g->n - i;
            vreal d = V(sub)(V(sub)(GCAM_FN(layer_norm_lanes)(in + i, left), V(set1)(high)), V(set1)(low));
            vreal v = GCAM_FN(layer_norm_lanes)(grad + i, left);
            if (gamma != NULL) {
                v = V(mul)(v, GCAM_FN(layer_norm_lanes)(gamma + i, left));
            }
            v = V(sub)(V(sub)(v, V(set1)((real_t)shift)), V(mul)(d, V(set1)((real_t)slope)));
            GCAM_FN(layer_norm_put)(out + i, V(mul)(v, V(set1)((real_t)inverse)), left);
        }
    }
}
