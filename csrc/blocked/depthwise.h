/* Depthwise convolution of blocked tensors, each channel with a filter of its own, and its input gradient.
 *
 *   blocked_depthwise_pack        w (C, 1, kh, kw) -> packed (blocks, kh, kw, GCAM_BLOCK), zeros in spare lanes;
 *                                 with `gradient` the filters are turned by 180 degrees
 *   blocked_depthwise_output      x, packed, bias (C) or none, residual or none -> y = f(x * w + bias + residual)
 *   blocked_depthwise_input_grad  dy, packed -> dx, for any stride; packed without `gradient`
 *
 * At stride 1 the input gradient is blocked_depthwise_output too: dy for x, packed with `gradient`, and on each side
 * dilation (kernel - 1) - pad for padding.
 *
 * The border of x must hold what the windows reach outside x, and stays zero; dy needs none. A sum begins with the bias
 * and runs over the taps in scan order. No operand may overlap another one; no scratch.
 *
 * Attributes: pack ints c, kh, kw, gradient; output ints x's eight, y's eight, window (blocked/window.h), epilogue
 * (blocked/blocked.h); input_grad ints dx's eight, dy's eight, window. */
#ifndef GCAM_BLOCKED_DEPTHWISE_H
#define GCAM_BLOCKED_DEPTHWISE_H

#include "blocked/window.h"

typedef struct {
    ptrdiff_t c, taps, gradient;
} gcam_blocked_depthwise_pack_geom;

typedef struct {
    gcam_blocked in, out;
    gcam_window window;
    gcam_epilogue epilogue;
} gcam_blocked_depthwise_geom;

gcam_status gcam_blocked_depthwise_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_depthwise_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_depthwise_input_grad_init(void *geom, const gcam_attributes *attributes,
                                                   gcam_operands *operands);

#endif
