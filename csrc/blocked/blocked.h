/* Blocked tensors: GCAM_BLOCK channels lie together, so that a vector holds neighbouring channels of one pixel.
 *
 *   (N, blocks, top + H + bottom, left + W + right, GCAM_BLOCK),   blocks = ceil(C / GCAM_BLOCK)
 *
 * The border (top, left, bottom, right) holds zeros: who reads a padded window needs no bounds tests. Every kernel that
 * writes a blocked tensor writes all of it, border and spare lanes of the last block included, so that such a tensor
 * may lie anywhere in the arena. What spare lanes hold is finite wherever the channels are finite, else arbitrary;
 * readers multiply them by zero weights or drop them.
 *
 * As attributes a tensor is eight ints: n, c, h, w, top, left, bottom, right. */
#ifndef GCAM_BLOCKED_BLOCKED_H
#define GCAM_BLOCKED_BLOCKED_H

#include "base/kernel.h"

#define GCAM_BLOCK 16

typedef struct {
    ptrdiff_t n, c, h, w, top, left, bottom, right;
    ptrdiff_t blocks;
    ptrdiff_t row, plane, picture; /* elements from row to row, block to block, picture to picture */
    ptrdiff_t origin;              /* elements before pixel (0, 0) of a block */
} gcam_blocked;

/* Reads a tensor's attributes; *elements are those of all of it. */
gcam_status gcam_read_blocked(gcam_reader *reader, gcam_blocked *tensor, size_t *elements);

/* What a kernel does to its sums before it stores them: y = f(sum + bias + residual). */
typedef struct {
    ptrdiff_t op; /* a gcam_unary_op, or -1: none */
    double alpha, beta;
    ptrdiff_t has_bias, has_residual;
    gcam_blocked residual; /* n, c, h and w of the output, its own border */
} gcam_epilogue;

/* Reads ints op, has_bias, has_residual and reals alpha, beta. */
gcam_status gcam_read_finish(gcam_reader *reader, gcam_epilogue *epilogue);

/* The same, then the residual's eight ints if there is one. */
gcam_status gcam_read_epilogue(gcam_reader *reader, const gcam_blocked *output, gcam_epilogue *epilogue,
                               size_t *residual_elements);

/* Zeros into the border of blocks [first, last), counted over all pictures; y has elements of so many bytes. */
void gcam_blocked_border(const gcam_blocked *t, void *y, size_t bytes, ptrdiff_t first, ptrdiff_t last);

#endif
