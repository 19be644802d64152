/* Rows of an axis by number, and the transposed operation; each batch has indices of its own.
 *
 *   gather_output      y[b,o,j,i] = x[b,o,index[b,j],i]
 *   gather_input_grad  dx[b,o,a,i] = sum over j with index[b,j] = a of dy[b,o,j,i], j ascending; dy, index -> dx
 *
 * A negative index counts from the end. An index outside [-axis, axis) gives a row of NaN, and its gradient goes
 * nowhere: indices are data, which nobody can check beforehand.
 *
 * Layout: x, dx (batch, outer, axis, inner), index (batch, count) as 64-bit indices, y, dy (batch, outer, count,
 * inner), contiguous; no operand may overlap another one. Attributes: ints batch, outer, axis, inner, count (all but
 * axis may be 0). No scratch. */
#ifndef GCAM_OPS_GATHER_H
#define GCAM_OPS_GATHER_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t outer, axis, inner, count; /* the outer steps of all batches */
    ptrdiff_t shared;                    /* outer steps that read the same indices */
} gcam_gather_geom;

gcam_status gcam_gather_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_gather_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* The row that `index` means, -1 if there is none. */
static inline ptrdiff_t
gcam_gather_row(const gcam_gather_geom *g, int64_t index)
{
    if (index < -(int64_t)g->axis || index >= (int64_t)g->axis) {
        return -1;
    }
    return (ptrdiff_t)index + (index < 0 ? g->axis : 0);
}

/* The indices of an outer step; without any, `index` may be absent. */
static inline const int64_t *
gcam_gather_indices(const gcam_gather_geom *g, const int64_t *index, ptrdiff_t step)
{
    return g->count == 0 ? index : index + step / g->shared * g->count;
}

#endif
