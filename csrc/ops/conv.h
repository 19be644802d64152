/* Convolution over one to three spatial axes, and its gradients. Plain layout.
 *
 *   y[n][k][o] = b[k] + sum over c, r of w[k][c][r] x[n][g C/G + c][o stride + r dilation - pad_lo]   (0 outside x)
 *   dx[n][c][i] = sum over k, r, o with o stride + r dilation - pad_lo = i of w[k][c][r] dy[n][k][o]
 *   dw[k][c][r] = sum over n, o of dy[n][k][o] x[n][g C/G + c][o stride + r dilation - pad_lo]        (0 outside x)
 *
 * x (N, C, *in), w (K, C/G, *kernel), b (K), y (N, K, *out), out = floor((in + pads - dilation (kernel - 1) - 1) /
 * stride) + 1.
 *
 *   conv_pack              w -> the weights packed for conv_output (gradient = 0) or conv_input_grad (gradient = 1)
 *   conv_output            x, packed, b or NULL -> y
 *   conv_input_grad        dy, packed -> dx
 *   conv_weight_grad       dy, x -> dw
 *   conv_output_naive      x, w, b or NULL -> y        the oracles: plain loops
 *   conv_input_grad_naive  dy, w -> dx
 *
 * Attributes (ints): rank, n, c, k, groups, in[rank], kernel[rank], stride[rank], pad_lo[rank], pad_hi[rank],
 * dilation[rank], has_bias, gradient. Output and input gradient are blocked matrix products (ops/gemm.tmpl.h) of the
 * packed weights with patches that each worker gathers into its scratch; the weight gradient is one whose depth are the
 * positions of all pictures (ops/conv_weight.tmpl.h). Nothing may overlap. */
#ifndef GCAM_OPS_CONV_H
#define GCAM_OPS_CONV_H

#include "base/kernel.h"

/* Blocks of the weight gradient: bytes of one line of positions, bytes added between lines so that they do not all
 * begin in the same cache set, and how many lines of dy and of patches are worked on at once. */
#define CONV_LINE_BYTES 4096
#define CONV_LINE_SKEW 64
#define CONV_GRAD_LINES 64
#define CONV_PATCH_LINES 48

typedef struct {
    ptrdiff_t rank, n, c, k, groups;
    /* Three axes always: missing leading ones have size 1. */
    ptrdiff_t in[3], out[3], kernel[3], stride[3], pad_lo[3], pad_hi[3], dilation[3];
    ptrdiff_t has_bias, gradient;
    /* The matrix product of one group: rows (output channels), depth (source channels x taps), columns (positions). */
    ptrdiff_t rows, depth, columns;
    ptrdiff_t source_channels;    /* of one group */
    ptrdiff_t packed_depth_block; /* packed elements of one full depth block of one group */
    ptrdiff_t packed_group;       /* packed elements of one group */
    ptrdiff_t block_columns;      /* positions whose patches are packed at once */
    ptrdiff_t panel;              /* scratch elements from one column panel to the next */
} gcam_conv_geom;

/* The outputs [*first, *end) along axis `a` whose tap `tap` lies inside the input; empty if there are none. */
static inline void
gcam_conv_tap_outputs(const gcam_conv_geom *g, int a, ptrdiff_t tap, ptrdiff_t *first, ptrdiff_t *end)
{
    const ptrdiff_t start = tap * g->dilation[a] - g->pad_lo[a], stride = g->stride[a], left = g->in[a] - start;
    *first = start < 0 ? (stride - 1 - start) / stride : 0;
    *end = left > 0 ? (left - 1) / stride + 1 : 0;
    *end = *end < g->out[a] ? *end : g->out[a];
    *first = *first < *end ? *first : *end;
}

gcam_status gcam_conv_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_conv_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_conv_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_conv_weight_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_conv_output_naive_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_conv_input_grad_naive_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
