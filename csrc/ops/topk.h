/* Positions of the largest or smallest numbers of each row.
 *
 *   topk_output  y[o,0..count) = positions of the `count` first numbers of row o of x, best first
 *
 * Equal numbers (0 and -0 are) go by ascending position. NaN comes after all numbers, for both directions.
 *
 * Layout: x (outer, n), y (outer, count) as 64-bit indices, contiguous; no operand may overlap another one. No scratch.
 * Attributes: ints outer (0 is allowed), n, count (1..n), largest (1, or 0 for the smallest). */
#ifndef GCAM_OPS_TOPK_H
#define GCAM_OPS_TOPK_H

#include <stdbool.h>

#include "base/kernel.h"

typedef struct {
    ptrdiff_t outer, n, count;
    bool largest;
} gcam_topk_geom;

gcam_status gcam_topk_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
