/* Weighted sums of elements at positions that are computed at run time: what sampling at a grid, in regions and at
 * offsets is made of. Linear in x and in w, so that these three kernels are each other's gradients.
 *
 *   sample_output       y[b,o,j]  = sum over t of w[b,j,t] x[b,o,index[b,j,t]]; x, index, w -> y
 *   sample_input_grad   dx[b,o,a] = sum over (j,t) with index[b,j,t] = a of w[b,j,t] dy[b,o,j]; dy, index, w -> dx
 *   sample_weight_grad  dw[b,j,t] = sum over o of dy[b,o,j] x[b,o,index[b,j,t]]; x, index, dy -> dw
 *
 * Sums run over ascending t, (j, t) and o. An index outside [0, axis) is no tap: it adds nothing, its weight is not
 * read, and the gradient of that weight is 0.
 *
 * Layout: x, dx (batch, outer, axis), index (batch, count, taps) as 64-bit indices, w, dw (batch, count, taps), y, dy
 * (batch, outer, count), contiguous; no operand may overlap another one. Attributes: ints batch, outer, axis, count,
 * taps (batch and count may be 0). No scratch. */
#ifndef GCAM_OPS_SAMPLE_H
#define GCAM_OPS_SAMPLE_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t batch, outer, axis, count, taps;
} gcam_sample_geom;

gcam_status gcam_sample_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_sample_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_sample_weight_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
