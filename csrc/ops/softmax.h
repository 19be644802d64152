/* Softmax and its logarithm along one axis, x of shape (outer, axis, inner).
 *
 *   softmax_output        (x -> y)         y may be the same array as x
 *       y = exp(x - m) / s                 m = max over the axis, s = sum exp(x - m)
 *       y = (x - m) - log(s)               with the flag log
 *   softmax_input_grad    (y, dy -> dx)    dx may be the same array as y or dy
 *       dx = y (dy sum y - sum y dy)       the sum of y is 1 up to its rounding, which cancels
 *       dx = dy - exp(y) sum dy            with the flag log
 *
 * Sums are in float64, in an order that depends on `axis` and on whether inner is 1, nothing else. NaN anywhere on the
 * axis, or nothing but -inf, makes it all NaN. Attributes: ints outer, axis, inner, log (0 or 1). No scratch. */
#ifndef GCAM_OPS_SOFTMAX_H
#define GCAM_OPS_SOFTMAX_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t outer, axis, inner;
    int log;
} gcam_softmax_geom;

gcam_status gcam_softmax_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_softmax_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
