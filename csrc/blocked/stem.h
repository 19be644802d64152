/* The first convolution of a network: from a plain tensor of few channels (colours) to a blocked one.
 *
 *   blocked_stem_pack    w (K, C, kh, kw) -> packed (blocks, C, kh, kw, GCAM_BLOCK), zeros in spare lanes
 *   blocked_stem_output  x plain (N, C, H, W), packed, bias (K) or none, residual or none -> y = f(x * w + bias +
 * residual)
 *
 * C is 1 to GCAM_STEM_CHANNELS. A sum begins with the bias and runs over c, kh, kw in this order. No operand may
 * overlap another one; scratch: the padded rows of x under GCAM_STEM_ROWS rows of y.
 *
 * Attributes: pack ints K, C, kh, kw; output ints C, H, W, y's eight, window (blocked/window.h), epilogue
 * (blocked/blocked.h). */
#ifndef GCAM_BLOCKED_STEM_H
#define GCAM_BLOCKED_STEM_H

#include "blocked/window.h"

#define GCAM_STEM_CHANNELS 4
#define GCAM_STEM_ROWS 4

typedef struct {
    ptrdiff_t k, depth;
} gcam_blocked_stem_pack_geom;

typedef struct {
    ptrdiff_t c, h, w;
    gcam_blocked out;
    gcam_window window;
    gcam_epilogue epilogue;
    ptrdiff_t depth;       /* products of a sum */
    ptrdiff_t rows, cells; /* of a channel in the scratch, of such a row */
} gcam_blocked_stem_geom;

gcam_status gcam_blocked_stem_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_stem_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
