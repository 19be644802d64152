/* Elementwise functions of two arrays with broadcasting; ops/binary.inc has the formulas.
 *
 *   binary_output    (a, b -> y)         y = f(a, b)
 *   binary_a_grad    (a, b, dy -> da)    da = df/da dy       not yet summed over the axes along which a is broadcast
 *   binary_b_grad    (a, b, dy -> db)    db = df/db dy       likewise for b
 *
 * y, dy, da and db are contiguous and have the broadcast shape. a and b are read at element strides, 0 along an axis of
 * broadcasting. An output may be the same array as any input that is contiguous in the broadcast shape.
 *
 * Attributes: ints op (a gcam_binary_op), rank (0 to 8), shape[rank], a_strides[rank], b_strides[rank]. An operand has
 * 1 + sum (shape - 1) stride elements, none if an axis with a stride is empty. No scratch. */
#ifndef GCAM_OPS_BINARY_H
#define GCAM_OPS_BINARY_H

#include "base/kernel.h"

typedef enum {
#define GCAM_BINARY(NAME, Y, DA, DB) GCAM_BINARY_##NAME,
#include "ops/binary.inc"
#undef GCAM_BINARY
    GCAM_BINARY_OPS
} gcam_binary_op;

/* Axes of size 1 are gone and neighbours merged where both operands allow it; at least one axis is left. */
typedef struct {
    gcam_binary_op op;
    ptrdiff_t rank, count;
    ptrdiff_t shape[GCAM_MAX_RANK], a_stride[GCAM_MAX_RANK], b_stride[GCAM_MAX_RANK];
} gcam_binary_geom;

gcam_status gcam_binary_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_binary_a_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_binary_b_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* Where a walk along the rows (the last axis) stands. */
typedef struct {
    ptrdiff_t index[GCAM_MAX_RANK];
    ptrdiff_t a, b; /* offsets of the element */
} gcam_binary_cursor;

static inline gcam_binary_cursor
gcam_binary_seek(const gcam_binary_geom *g, ptrdiff_t element)
{
    gcam_binary_cursor at = {.a = 0, .b = 0};
    for (ptrdiff_t axis = g->rank - 1; axis >= 0; axis--) {
        at.index[axis] = element % g->shape[axis];
        element /= g->shape[axis];
        at.a += at.index[axis] * g->a_stride[axis];
        at.b += at.index[axis] * g->b_stride[axis];
    }
    return at;
}

/* Move by n elements, at most to the end of the row, which is the beginning of the next one. */
static inline void
gcam_binary_advance(const gcam_binary_geom *g, gcam_binary_cursor *at, ptrdiff_t n)
{
    for (ptrdiff_t axis = g->rank - 1; axis >= 0; axis--, n = 1) {
        at->index[axis] += n;
        at->a += n * g->a_stride[axis];
        at->b += n * g->b_stride[axis];
        if (at->index[axis] < g->shape[axis]) {
            return;
        }
        at->index[axis] = 0;
        at->a -= g->shape[axis] * g->a_stride[axis];
        at->b -= g->shape[axis] * g->b_stride[axis];
    }
}

#endif
