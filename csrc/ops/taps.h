/* The input gradient of a convolution, summed over all positions, without computing it (geometry: ops/conv.h).
 *
 *   sum over i of dx[n][c][i] = sum over k, r of w[k][c][r] t[n][k][r]
 *   t[n][k][r] = sum of dy[n][k][o] over the outputs o whose tap r lies inside the input
 *
 *   tap_sums     dy -> t (N, K, taps)
 *   tap_product  t, w -> y (N, C)       the sum over k and r, divided by `divisor`
 *
 * All sums are in double: t along a row, then over the rows in ascending order; y over k in ascending order for each
 * tap, then over the taps. Attributes: ints those of ops/conv.h; tap_product also has the real `divisor`. */
#ifndef GCAM_OPS_TAPS_H
#define GCAM_OPS_TAPS_H

#include "ops/conv.h"

/* Sums of channels times taps that stay close while the weights pass. */
#define TAPS_BLOCK 2048
/* Output channels whose weights pass together. */
#define TAPS_TOGETHER 4

typedef struct {
    gcam_conv_geom conv;
    ptrdiff_t taps;
    ptrdiff_t block; /* channels whose sums are made at once */
    ptrdiff_t sums;  /* room for them, in whole vectors */
    double divisor;
} gcam_taps_geom;

gcam_status gcam_tap_sums_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_tap_product_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
