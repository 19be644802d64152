/* From plain tensors to blocked ones, back, and from one blocked tensor into another.
 *
 *   blocked_from_plain (x -> y)   x plain (N, C, H, W), y blocked; spare lanes are 0; ints: y's eight
 *   blocked_to_plain   (x -> y)   x blocked, y plain (N, C, H, W); ints: x's eight
 *   blocked_copy       (x -> y)   channels of x into channels [to, to + x.c) of y; ints: x's eight, y's eight, to
 *
 * blocked_copy writes the blocks that hold these channels, with y's border, and no other: copies whose channels make up
 * all of y (Concat) write all of y. `to` is a multiple of GCAM_BLOCK, x.c one too unless the copy ends with the last
 * channel of y. With to = 0 and x.c = y.c it changes the border only. No operand may overlap another one; no scratch.
 */
#ifndef GCAM_BLOCKED_REORDER_H
#define GCAM_BLOCKED_REORDER_H

#include "blocked/blocked.h"

typedef struct {
    gcam_blocked tensor;
} gcam_blocked_reorder_geom;

typedef struct {
    gcam_blocked in, out;
    ptrdiff_t to_block;
} gcam_blocked_copy_geom;

gcam_status gcam_blocked_from_plain_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_to_plain_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_copy_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
