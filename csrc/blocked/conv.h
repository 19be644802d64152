/* Direct convolution of blocked tensors, and its input gradient. Two spatial axes.
 *
 *   y[k][o] = f(sum over c, r of w[k][c][r] x[g C/G + c][o stride + r dilation - pad] + bias[k] + residual[k][o])
 *   dx[c][i] = the same epilogue of the sum over k, r, o with o stride + r dilation - pad = i of w[k][c][r] dy[k][o]
 *
 *   blocked_conv_pack    w (K, C/G, kh, kw), plain -> packed, for the kernel below
 *   blocked_conv_output  source, packed, bias or NULL, residual or NULL -> result
 *
 * Attributes of both: ints source (8) and result (8) as in blocked/blocked.h: x and y, or for the gradient dy and dx;
 * groups, gradient, window (blocked/window.h); then the epilogue's, reals alpha, beta.
 * The source's border must cover every place that a window reads.
 *
 * The gradient falls into stride[0] x stride[1] classes of result pixels (no more than there are pixels); within a
 * class it is a convolution of stride 1 with some of the taps, whose results lie a stride apart. The forward product is
 * the one class of all pixels.
 *
 * Groups whose channels are no whole blocks are packed several together as one dense product with zeros between them:
 * GCAM_E_GROUPS where no whole number of them makes whole blocks on both sides. */
#ifndef GCAM_BLOCKED_CONV_H
#define GCAM_BLOCKED_CONV_H

#include "blocked/window.h"

typedef struct {
    gcam_blocked source, result;
    ptrdiff_t groups, gradient;
    gcam_window window;
    gcam_epilogue epilogue;
    /* Packed groups: `merged` groups each. */
    ptrdiff_t merged, group_count, source_blocks, result_blocks; /* blocks of one packed group */
    ptrdiff_t tiles;                                             /* register tiles of output channels in it */
    ptrdiff_t classes[2];
    ptrdiff_t bf16_result, bf16_residual; /* blocked/bf16.h */
} gcam_blocked_conv_geom;

gcam_status gcam_blocked_conv_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_conv_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

/* Taps and pixels of one class along one axis: result pixel q * step + first reads source pixel q * jump + offset for
 * the taps first_tap, first_tap + tap_step, ... */
typedef struct {
    ptrdiff_t first, step, count; /* result pixels */
    ptrdiff_t jump;               /* source pixels from one result pixel to the next */
    ptrdiff_t first_tap, tap_step, taps;
    ptrdiff_t offset, tap_offset; /* source pixel of q = 0 at the first tap, and from tap to tap */
} gcam_conv_class;

gcam_conv_class gcam_blocked_conv_class(const gcam_blocked_conv_geom *g, int axis, ptrdiff_t number);

/* What a worker computes of one class of one picture: tiles of output channels, counted over all groups, and rows. */
typedef struct {
    ptrdiff_t tile, tile_end, row, row_end;
} gcam_conv_share;

/* Rows are shared while there are many, else tiles, whichever divides better. */
gcam_conv_share gcam_blocked_conv_share(const gcam_blocked_conv_geom *g, ptrdiff_t rows, int worker, int workers);

#endif
