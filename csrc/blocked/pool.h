/* Max and average pooling of blocked tensors, and their gradients: what ops/pool.h says, for two spatial axes.
 *
 *   blocked_max_pool_output          x -> y
 *   blocked_max_pool_input_grad      x, dy -> dx
 *   blocked_max_pool_index           x -> y, index
 *   blocked_max_pool_index_grad      index, dy -> dx
 *   blocked_average_pool_output      x -> y
 *   blocked_average_pool_input_grad  dy -> dx
 *
 * index has one byte per element of y without its border, (N, blocks, H, W, GCAM_BLOCK): the tap, counted in scan order
 * over the whole window, that holds the first maximum; GCAM_NO_TAP for a window without a cell of the input. A window
 * has at most GCAM_NO_TAP taps. The gradients by index and by x have the same bits.
 *
 * Windows end where the input ends: no tensor needs a border, and none is read. No operand may overlap another one.
 *
 * Attributes: ints x's eight, y's eight (max_pool_input_grad: x's, dy's, dx's; max_pool_index_grad and
 * average_pool_input_grad: dx's, dy's), then all of ops/pool.h with rank 2. Scratch: a padded row of a block and a
 * divisor per window of a row. */
#ifndef GCAM_BLOCKED_POOL_H
#define GCAM_BLOCKED_POOL_H

#include "blocked/blocked.h"
#include "ops/pool.h"

#define GCAM_NO_TAP 255

typedef struct {
    gcam_blocked in, out;
    gcam_blocked gradient; /* dx of max_pool_input_grad */
    gcam_pool_geom pool;   /* axes 1 and 2 */
} gcam_blocked_pool_geom;

gcam_status gcam_blocked_max_pool_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_max_pool_input_grad_init(void *geom, const gcam_attributes *attributes,
                                                  gcam_operands *operands);
gcam_status gcam_blocked_max_pool_index_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_max_pool_index_grad_init(void *geom, const gcam_attributes *attributes,
                                                  gcam_operands *operands);
gcam_status gcam_blocked_average_pool_output_init(void *geom, const gcam_attributes *attributes,
                                                  gcam_operands *operands);
gcam_status gcam_blocked_average_pool_input_grad_init(void *geom, const gcam_attributes *attributes,
                                                      gcam_operands *operands);

#endif
