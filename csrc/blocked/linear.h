/* Linear layers on many rows (tokens), plain on both sides: weights packed, bias, residual and activation fused.
 *
 *   y[i][m] = f(sum over k of x[i][k] w[k][m] + bias[m] + residual[i][m])
 *
 *   linear_pack    w (K, M), or (M, K) if transposed -> packed [M / BLOCKED_CHANNELS][K / 16][16][BLOCKED_CHANNELS]
 *   linear_output  x (rows, K), packed, bias (M) or NULL, residual (rows, M) or NULL -> y (rows, M)
 *
 * K and M are multiples of GCAM_BLOCK: 16 numbers of a row are then a block as the register tile reads it
 * (blocked/tile.tmpl.h), rows its pixels. Sums run over k in ascending order in one chain from the bias on. Nothing may
 * overlap. A block of rows is brought into blocks of 16 numbers in scratch, and its sums stand there until they are
 * whole: rows of x or y that are a multiple of 4096 bytes apart would push each other out of the first-level cache.
 *
 * Attributes: ints rows, K, M, transposed, op (a gcam_unary_op, -1: none), has_bias, has_residual; reals alpha, beta.
 */
#ifndef GCAM_BLOCKED_LINEAR_H
#define GCAM_BLOCKED_LINEAR_H

#include "blocked/blocked.h"

/* Rows worked on at once. */
#define LINEAR_ROWS 224
/* Numbers of a row that are summed before the next tile of outputs: weights and rows then stay in the second-level
 * cache. */
#define LINEAR_DEPTH 512
/* Tiles of outputs that are brought back into rows together. */
#define LINEAR_TILES 4

typedef struct {
    ptrdiff_t rows, k, m, transposed;
    gcam_epilogue epilogue;
    ptrdiff_t bf16_result, bf16_residual; /* blocked/bf16.h */
    ptrdiff_t block_rows;                 /* rows worked on at once */
    ptrdiff_t line;                       /* elements from one block of 16 numbers of all these rows to the next */
    ptrdiff_t depth;                      /* blocks of K summed at once */
    ptrdiff_t kept;                       /* tiles of outputs whose sums stand in scratch */
} gcam_linear_geom;

gcam_status gcam_linear_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_linear_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
