/* Layer norm, x of shape (rows, n).
 *
 *   layer_norm_output      x, gamma, beta -> y        y = (x - mean) s gamma + beta; y may be the same array as x
 *   layer_norm_input_grad  x, gamma, dy -> dx         dx = s (g - mean of g - h mean of g h); dx may be x or dy
 *
 * with s = 1 / sqrt(var + epsilon), h = (x - mean) s and g = dy gamma; mean and var (the mean square of x - mean) are
 * those of a row. gamma and beta have n numbers, or are NULL: ones and zeros. Sums are in float64, in an order that
 * depends on n alone; NaN or infinity makes its whole row NaN.
 *
 * Attributes: ints rows, n (at least 1), has_gamma, has_beta (0 in the gradient); reals epsilon. No scratch. */
#ifndef GCAM_OPS_LAYER_NORM_H
#define GCAM_OPS_LAYER_NORM_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t rows, n;
    double epsilon;
} gcam_layer_norm_geom;

gcam_status gcam_layer_norm_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_layer_norm_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
