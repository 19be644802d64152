/* Linear layers on many rows (tokens), plain on both sides: weights packed, bias, residual and activation fused.
 *
 *   y[i][m] = f(sum over k of x[i][k] w[k][m] + bias[m] + residual[i][m])
 *
 *   linear_pack    w (K, M), or (M, K) if transposed -> packed [M / BLOCKED_CHANNELS][K / 16][16][BLOCKED_CHANNELS]
 *   linear_output  x (rows, K), packed, bias (M) or NULL, residual (rows, M) or NULL -> y (rows, M)
 *
 * K and M are multiples of GCAM_BLOCK: 16 numbers of a row are then a block as the register tile reads it
 * (blocked/tile.tmpl.h), rows its pixels. Sums run over k in ascending order in one chain from the bias on. Nothing may
 * overlap.
 *
 * Attributes: ints rows, K, M, transposed, op (a gcam_unary_op, -1: none), has_bias, has_residual; reals alpha, beta.
 */
#ifndef GCAM_BLOCKED_LINEAR_H
#define GCAM_BLOCKED_LINEAR_H

#include "blocked/blocked.h"

typedef struct {
    ptrdiff_t rows, k, m, transposed;
    gcam_epilogue epilogue;
    ptrdiff_t bf16_result, bf16_residual; /* blocked/bf16.h */
} gcam_linear_geom;

gcam_status gcam_linear_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_linear_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
