/* A sparse linear map along one axis: interpolation, padding by repetition, anti-aliasing, and their gradients.
 *
 *   resample_output  y[o,j,i] = sum over t in [starts[j], starts[j + 1]) of weights[t] x[o,indices[t],i], t ascending
 *
 * A j without taps gives 0; elements that no tap names are not read. The gradient is the same kernel with the taps
 * transposed. A tap outside the axis gives NaN, and so does a j whose taps are not in the table: taps are data, which
 * nobody can check beforehand.
 *
 * Layout: x (outer, axis, inner), starts (count + 1) and indices (taps) as 64-bit indices, weights (taps),
 * y (outer, count, inner), contiguous; no operand may overlap another one. Attributes: ints outer, axis, inner, count,
 * taps (axis and taps at least 1). No scratch. */
#ifndef GCAM_OPS_RESAMPLE_H
#define GCAM_OPS_RESAMPLE_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t outer, axis, inner, count, taps;
} gcam_resample_geom;

gcam_status gcam_resample_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
