/* Max and average pooling over 1 to 3 spatial axes.
 *
 *   pool_max_output          y[n,c,o] = max over taps t of x[n,c,o * stride - pad_lo + t * dilation]
 *   pool_max_input_grad      dx = dy at the first maximum of each window in scan order, added up; x, dy -> dx
 *   pool_max_pick            y[n,c,o] = v at the first maximum of window o of x, the transpose; x, v -> y
 *   pool_max_index           y[n,c,o] = position in x, flattened, of that maximum
 *   pool_average_output      y[n,c,o] = (sum over the same taps) / count(o)
 *   pool_average_input_grad  dx[n,c,i] = sum over the windows that hold i of dy[n,c,o] / count(o)
 *
 * Padding never wins a maximum: a window without a cell of the input gives -inf, its gradient goes nowhere, it picks 0,
 * and its position is -1. A NaN counts as the maximum. count(o) is the number of taps inside the input, or inside the
 * padded input if count_include_pad; the average of no cell is 0.
 *
 * Layout: x, v, dx (n, c, in...), y, dy (n, c, out...), contiguous; no operand may overlap another one.
 * out = floor or (ceil_mode) ceil of (in + pad_lo + pad_hi - dilation * (kernel - 1) - 1) / stride, plus 1; in ceil
 * mode the last window is dropped if it would start at or after in + pad_lo.
 *
 * Attributes: ints rank, n, c, in[rank], kernel[rank], stride[rank], pad_lo[rank], pad_hi[rank], dilation[rank],
 * ceil_mode, count_include_pad. For pool_max_index the last one says that the spatial axes are flattened in
 * column-major order, the first axis fastest; n and c come before them either way. Scratch: three rows. */
#ifndef GCAM_OPS_POOL_H
#define GCAM_OPS_POOL_H

#include <stdbool.h>

#include "base/kernel.h"

/* Missing spatial axes are leading axes of size 1. */
typedef struct {
    ptrdiff_t planes; /* n * c */
    ptrdiff_t in[GCAM_MAX_SPACE], out[GCAM_MAX_SPACE], kernel[GCAM_MAX_SPACE], stride[GCAM_MAX_SPACE];
    ptrdiff_t pad_lo[GCAM_MAX_SPACE], pad_hi[GCAM_MAX_SPACE], dilation[GCAM_MAX_SPACE];
    ptrdiff_t row; /* cells of a padded row: enough for every tap of every window of the last axis */
    bool count_include_pad;
} gcam_pool_geom;

gcam_status gcam_pool_max_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_pool_max_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_pool_max_pick_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_pool_max_index_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_pool_average_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_pool_average_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* The taps [*first, *end) of window `o` that lie in [lo, hi) of axis `a`; empty if there are none. */
static inline void
gcam_pool_taps(const gcam_pool_geom *g, int a, ptrdiff_t o, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t *first,
               ptrdiff_t *end)
{
    const ptrdiff_t start = o * g->stride[a] - g->pad_lo[a], dilation = g->dilation[a], kernel = g->kernel[a];
    *first = 0;
    *end = kernel;
    if (start < lo) {
        *first = (lo - start + dilation - 1) / dilation;
    }
    if (start + (kernel - 1) * dilation >= hi) {
        *end = start < hi ? (hi - start + dilation - 1) / dilation : 0;
    }
    *first = *first < *end ? *first : *end;
}

/* The divisor that axis `a` gives to the average of window `o`. At least 1: the sum over no cell is 0 already. */
static inline ptrdiff_t
gcam_pool_count(const gcam_pool_geom *g, int a, ptrdiff_t o)
{
    ptrdiff_t first, end;
    if (g->count_include_pad) {
        gcam_pool_taps(g, a, o, -g->pad_lo[a], g->in[a] + g->pad_hi[a], &first, &end);
    } else {
        gcam_pool_taps(g, a, o, 0, g->in[a], &first, &end);
    }
    return end > first ? end - first : 1;
}

#endif
