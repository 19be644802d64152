/* Rows of an axis by number, and the transposed operation.
 *
 *   gather_output      y[o,j,i] = x[o,index[j],i]
 *   gather_input_grad  dx[o,a,i] = sum over j with index[j] = a of dy[o,j,i], j ascending; dy, index -> dx
 *
 * A negative index counts from the end. An index outside [-axis, axis) gives a row of NaN, and its gradient goes
 * nowhere: indices are data, which nobody can check beforehand.
 *
 * Layout: x, dx (outer, axis, inner), index (count) as 64-bit indices, y, dy (outer, count, inner), contiguous; no
 * operand may overlap another one. Attributes: ints outer, axis, inner, count (all but axis may be 0). No scratch. */
#ifndef GCAM_OPS_GATHER_H
#define GCAM_OPS_GATHER_H

#include "base/kernel.h"

typedef struct {
    ptrdiff_t outer, axis, inner, count;
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

#endif
