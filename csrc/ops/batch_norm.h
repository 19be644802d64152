/* Batch norm with given statistics and with those of the batch, x of shape (n, c, inner).
 *
 *   batch_norm_output        x, gamma, beta, mean, var -> y      y = x scale + shift; y may be the same array as x
 *   batch_norm_input_grad    dy, gamma, var -> dx                dx = dy scale; dx may be the same array as dy
 *   batch_norm_train_output  x, gamma, beta -> y, mean, var      the same y with the statistics of x, which it returns
 *   batch_norm_train_grad    dy, x, gamma, mean, var -> dx, dgamma, dbeta       through the statistics too
 *
 * with scale = gamma / sqrt(var + epsilon) and shift = beta - mean scale, per channel in float64, each rounded once.
 * mean and var (the mean square of x - mean) are taken over n and inner, n at least 1; with s = 1 / sqrt(var + epsilon)
 *
 *   dbeta = sum of dy      dgamma = s sum of dy (x - mean)      dx = gamma s (dy - dbeta / m - (x - mean) s dgamma / m)
 *
 * for m = n inner. Sums are in float64, element i of a plane in lane i % BATCH_NORM_LANES.
 * Attributes: ints n, c, inner; reals epsilon. No scratch. */
#ifndef GCAM_OPS_BATCH_NORM_H
#define GCAM_OPS_BATCH_NORM_H

#include "base/kernel.h"

#define BATCH_NORM_LANES 16

typedef struct {
    ptrdiff_t n, c, inner;
    double epsilon;
} gcam_batch_norm_geom;

gcam_status gcam_batch_norm_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_batch_norm_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_batch_norm_train_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_batch_norm_train_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
