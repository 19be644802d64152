/* Scaled dot-product attention (Vaswani et al. 2017) of many heads, rows of scores in scratch.
 *
 *   y[b][i][c] = sum over t of p[b][i][t] v[b][t][c]
 *   p[b][i] = softmax over t of scale q[b][i] . k[b][t] + bias[b][i][t]
 *
 * The numbers of a row lie together; all else has strides, so that heads are read where they lie: q (*batch, rows,
 * depth), k (*batch, keys, depth), v (*batch, keys, width), bias (*batch, rows, keys) or NULL, y (*batch, rows, width).
 * Strides of inputs may be 0. y may not overlap an input, and its elements are its memory.
 *
 * Scores and products are summed in the type of the arrays, in ascending order, what the exponentials are divided by in
 * float64. NaN or inf among the scores of a row, or nothing but -inf, makes the row NaN.
 *
 * Attributes: ints batch_rank (0 to ATTENTION_RANK), rows, keys, depth, width, has_bias, batch[batch_rank], then for q,
 * k, v, bias (if there is one) and y: elements of the array, offset, stride of rows, strides of the batch axes. Reals:
 * scale. */
#ifndef GCAM_BLOCKED_ATTENTION_H
#define GCAM_BLOCKED_ATTENTION_H

#include "blocked/blocked.h"

#define ATTENTION_RANK 4
/* Most bytes of scores at once, and rows of them. */
#define ATTENTION_SCORE_BYTES (192 * 1024)
#define ATTENTION_ROWS 112

typedef struct {
    ptrdiff_t offset, row, batch[ATTENTION_RANK];
} gcam_attention_view;

typedef struct {
    ptrdiff_t batch_rank, rows, keys, depth, width, has_bias, batch[ATTENTION_RANK];
    gcam_attention_view q, k, v, bias, y;
    double scale;
    ptrdiff_t heads;                               /* product of the batch */
    ptrdiff_t block_rows, row_blocks;              /* rows of a head that are worked on at once, how many such blocks */
    ptrdiff_t line;                                /* scratch elements from one block of numbers to the next */
    ptrdiff_t depth_blocks, key_blocks;            /* blocks of GCAM_BLOCK */
    ptrdiff_t packed_k, packed_v, scores, results; /* scratch elements before each; q is first */
} gcam_attention_geom;

gcam_status gcam_attention_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
