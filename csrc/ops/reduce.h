/* Reductions over any set of axes, and their companions.
 *
 *   reduce_output              y[k] = sum, mean, maximum or minimum over the reduced axes of x
 *   reduce_extreme_input_grad  dx[i] = dy[k] / (number of x equal to y[k]) where x[i] = y[k], else 0; x, y, dy -> dx
 *   argmax_output              y[o,i] = first a with the largest x[o,a,i]
 *
 * y has the kept axes of x in their order. Sums are in double, in an order that the shape fixes (numerics 1.1). A NaN
 * counts as the maximum and as the minimum, and equals another NaN.
 *
 * Layout: contiguous; no operand may overlap another one. No scratch.
 * Attributes: reduce_*: ints op (a gcam_reduce_op), rank (0..8), shape[rank], reduced[rank] (0 or 1);
 *             argmax_output: ints outer, axis, inner; y holds indices. Sizes of kept axes may be 0. */
#ifndef GCAM_OPS_REDUCE_H
#define GCAM_OPS_REDUCE_H

#include "base/kernel.h"

/* The same codes as REDUCE in gradcam/ops/reduce.py. */
typedef enum { GCAM_REDUCE_SUM, GCAM_REDUCE_MEAN, GCAM_REDUCE_MAX, GCAM_REDUCE_MIN, GCAM_REDUCE_OPS } gcam_reduce_op;

/* A few axes of x as nested loops, outermost first. */
typedef struct {
    int rank;
    ptrdiff_t size[GCAM_MAX_RANK], stride[GCAM_MAX_RANK], count;
} gcam_reduce_loops;

/* Neighbours of one kind count as one axis. The innermost kept axis is `inner` if it ends the shape (else inner = 1),
 * the innermost reduced one is `length`; the others are loops. y[(k, i)] for step k of `kept` and i < inner. */
typedef struct {
    gcam_reduce_op op;
    gcam_reduce_loops kept, reduced;
    ptrdiff_t length, length_stride, inner;
} gcam_reduce_geom;

gcam_status gcam_reduce_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_reduce_extreme_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

typedef struct {
    ptrdiff_t outer, axis, inner;
} gcam_argmax_geom;

gcam_status gcam_argmax_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* Offset in x of step `k` of the loops. */
static inline ptrdiff_t
gcam_reduce_offset(const gcam_reduce_loops *loops, ptrdiff_t k)
{
    ptrdiff_t offset = 0;
    for (int a = loops->rank - 1; a >= 0; a--) {
        offset += k % loops->size[a] * loops->stride[a];
        k /= loops->size[a];
    }
    return offset;
}

#endif
