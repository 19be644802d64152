/* Copies between strided regions: transpose, slice, split, concat, expand, pad and their gradients.
 *
 *   copy_output  y[y_offset + r . y_strides] = x[x_offset + r . x_strides] for every r in the region; the rest of y is
 *                left as it is, so that several calls can build one y
 *   pad_output   the same, and every other element of y is `value`
 *
 * Strides are in elements. Those of x may be 0 (expand) or negative (reversal); those of y must make each element of y
 * the target of one r at the most, as a mixed-radix number: sorted by size, each stride is larger than all that the
 * smaller ones reach together. x and y may not overlap.
 * Attributes: ints rank (0..8), shape[rank] (of the region), x_count, x_offset, x_strides[rank], y_count, y_offset,
 * y_strides[rank]; pad_output also reals value. No scratch. */
#ifndef GCAM_OPS_LAYOUT_H
#define GCAM_OPS_LAYOUT_H

#include "base/kernel.h"

/* The region with its axes in the order of y's memory: y strides are positive and fall, no two axes can be merged, and
 * there is at least one axis. So the region in row-major order walks y upwards. */
typedef struct {
    int rank;
    ptrdiff_t count; /* elements of the region */
    ptrdiff_t size[GCAM_MAX_RANK], x_stride[GCAM_MAX_RANK], y_stride[GCAM_MAX_RANK];
    ptrdiff_t x_offset, y_offset, y_count;
    int across; /* the axis along which x is contiguous, if the copy is best done in tiles of it; else -1 */
    double value;
} gcam_layout_geom;

gcam_status gcam_copy_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_pad_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* A walk over the rows (all axes but the last) of the region. */
typedef struct {
    ptrdiff_t index[GCAM_MAX_RANK], x, y;
} gcam_layout_walk;

static inline gcam_layout_walk
gcam_layout_walk_start(const gcam_layout_geom *g, ptrdiff_t row)
{
    gcam_layout_walk walk = {.x = g->x_offset, .y = g->y_offset};
    for (int a = g->rank - 2; a >= 0; a--) {
        walk.index[a] = row % g->size[a];
        walk.x += walk.index[a] * g->x_stride[a];
        walk.y += walk.index[a] * g->y_stride[a];
        row /= g->size[a];
    }
    return walk;
}

static inline void
gcam_layout_walk_next(const gcam_layout_geom *g, gcam_layout_walk *walk)
{
    for (int a = g->rank - 2; a >= 0; a--) {
        walk->x += g->x_stride[a];
        walk->y += g->y_stride[a];
        if (++walk->index[a] < g->size[a]) {
            return;
        }
        walk->index[a] = 0;
        walk->x -= g->size[a] * g->x_stride[a];
        walk->y -= g->size[a] * g->y_stride[a];
    }
}

#endif
