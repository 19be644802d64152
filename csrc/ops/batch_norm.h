/* Batch norm with given statistics, x of shape (n, c, inner).
 *
 *   batch_norm_output        (x, gamma, beta, mean, var -> y)    y = x scale + shift        y may be the same array as
 * x batch_norm_input_grad    (dy, gamma, var -> dx)              dx = dy scale              dx may be the same array as
 * dy
 *
 * with scale = gamma / sqrt(var + epsilon) and shift = beta - mean scale, per channel in float64, each rounded once.
 * Attributes: ints n, c, inner; reals epsilon. No scratch. */
#ifndef GCAM_OPS_BATCH_NORM_H
#define GCAM_OPS_BATCH_NORM_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t n, c, inner;
    double epsilon;
} gcam_batch_norm_geom;

gcam_status gcam_batch_norm_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_batch_norm_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
