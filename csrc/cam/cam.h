/* Reductions of class activation maps, one picture at a time: activations A[k, x] and gradients g[k, x] with channels k
 * and positions x. R(v) = v < 0 ? 0 : v.
 *
 *   cam_channel_mean      g -> w[k] = mean_x g
 *   cam_plusplus_weights  A, g -> w[k], d[k], with s = sum_x A
 *                         variant 0: w = sum_x r / (2 + r s), r = R(g). Where |2 + r s| <= 1e-12 (2 + |r s|) the term
 *                                    is 0 and d[k] = 1 (else 0)
 *                         variant 1: w = sum_x R(g) a, a = g^2 / (2 g^2 + s g^3 + epsilon), 0 where g = 0; d = 0
 *                         variant 2: w = sum_x R(g)^3, A is not read; d = 0
 *   cam_xgrad_weights     A, g -> w[k], d[k]
 *                         variant 0: w = sum_x g A / sum_x A. Where |sum_x A| <= 1e-7 sum_x |A|, w = 0 and d[k] = 1
 *                         variant 1: w = sum_x g A / (sum_x A + epsilon); d = 0
 *   cam_combine           w, A -> L[x] = sum_k w[k] A
 *   cam_product           A, g -> L[x] = sum_k of, variant 0: g A; variant 1: R(g A); variant 2: R(g) A
 *
 * Layout: element (k, x) of A lies at A[k a.c + x a.x], that of g at g[k g.c + x g.x]; an array ends with its last
 * element: 1 + (channels - 1) c + (positions - 1) x. Strides are at least 1, or 0 along an axis of size 1.
 * w and d have `channels` elements, L has `positions`, both contiguous. No operand may overlap an output.
 *
 * Attributes of every kernel: ints channels, positions, a.c, a.x, g.c, g.x, variant, omit_nan (1: the NaN terms of
 * cam_combine and cam_product count as 0); real epsilon. No scratch.
 *
 * All sums are in double with one rounding at the end. A sum over positions has GCAM_CAM_LANES partial sums (x goes to
 * number x % GCAM_CAM_LANES, in ascending order), added pairwise at the end; a sum over channels has one accumulator
 * and ascending k. In variant 0 of cam_plusplus_weights on float32, positions x and x + GCAM_CAM_LANES of a whole run
 * of 2 GCAM_CAM_LANES are one term r / d + r' / d' = (r d' + r' d) / (d d'), with r = 0 and d = 1 where a term is 0. So
 * a result has the same bits for every layout, number of workers and ISA (without contraction). */
#ifndef GCAM_CAM_CAM_H
#define GCAM_CAM_CAM_H

#include <stdbool.h>

#include "base/kernel.h"
#include "cam/fetch.h"

enum {
    GCAM_CAM_LANES = 8,   /* partial sums over positions; a power of two */
    GCAM_CAM_BLOCK = 64,  /* channels at a time */
    GCAM_CAM_GROUP = 16,  /* positions are shared among workers by so many: no two write one cache line */
    GCAM_CAM_TILE = 1024, /* positions at a time where they are adjacent; a multiple of GCAM_CAM_ABREAST */
    GCAM_CAM_ABREAST = 8, /* positions at a time where channels are adjacent */
};

typedef struct {
    ptrdiff_t c, x;
} gcam_cam_strides;

typedef struct {
    ptrdiff_t channels, positions;
    gcam_cam_strides a, g;
    int variant;
    bool omit_nan;
    double epsilon;
} gcam_cam_geom;

/* What is summed over the positions of a channel, up to three sums at a time of p and q (two arrays) and s (a number
 * per channel). */
typedef enum {
    GCAM_CAM_VALUE,     /* p */
    GCAM_CAM_CUBE,      /* R(p)^3 */
    GCAM_CAM_CANCELLED, /* R(p) / (2 + R(p) s); and the number of terms dropped */
    GCAM_CAM_SHARE,     /* the first of these for s >= 0, where none is dropped */
    GCAM_CAM_DAMPED,    /* R(p) p^2 / (2 p^2 + s p^3 + epsilon) */
    GCAM_CAM_MOMENTS,   /* p q; q; |q| */
} gcam_cam_sum;

/* What is summed over the channels of a position. */
typedef enum {
    GCAM_CAM_PRODUCT,      /* u a */
    GCAM_CAM_RELU_PRODUCT, /* R(u a) */
    GCAM_CAM_RELU_FIRST,   /* R(u) a */
} gcam_cam_term;

/* Checks the sizes and strides of an array and says how many elements it has. */
gcam_status gcam_cam_elements(ptrdiff_t channels, ptrdiff_t positions, gcam_cam_strides strides, size_t *elements);

gcam_status gcam_cam_channel_mean_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_plusplus_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_xgrad_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_combine_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_product_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
