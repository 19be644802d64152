/* Numbers of rows, computed at run time in 64-bit integers.
 *
 *   rows_number  y[i] = base[i] + sum over k of position(x[i,k], k) stride[k]; x, base -> y
 *   rows_last    y[b,a] = the largest j with x[b,j] = a, -1 if there is none; x -> y
 *
 * position(p, k) is p for p in [0, size[k]), p + size[k] for p in [-size[k], 0) if `wrap`, and no position else: y is
 * the least 64-bit integer then, which is no index of any array. rows_last wraps negative numbers always and passes
 * over those outside [-size, size).
 *
 * Layout: x (count, depth), base, y (count); x (batch, count), y (batch, size); all of 64-bit indices, contiguous, no
 * operand may overlap another one. `base` may be absent. Attributes: rows_number ints count (0 is allowed), depth (1 to
 * GCAM_MAX_RANK), wrap, has_base, size[depth], stride[depth]; rows_last ints batch, count, size (batch and count may be
 * 0). No scratch. */
#ifndef GCAM_OPS_ROWS_H
#define GCAM_OPS_ROWS_H

#include <stdbool.h>

#include "base/kernel.h"

typedef struct {
    ptrdiff_t batch, count, depth;
    ptrdiff_t size[GCAM_MAX_RANK], stride[GCAM_MAX_RANK];
    bool wrap, has_base;
} gcam_rows_geom;

gcam_status gcam_rows_number_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_rows_last_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* Position that `index` means along axis `k`, -1 if there is none. */
static inline ptrdiff_t
gcam_rows_position(const gcam_rows_geom *g, int64_t index, ptrdiff_t k)
{
    const int64_t size = g->size[k];
    if (index >= 0) {
        return index < size ? (ptrdiff_t)index : -1;
    }
    return g->wrap && index >= -size ? (ptrdiff_t)(index + size) : -1;
}

#endif
