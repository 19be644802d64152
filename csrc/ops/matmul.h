/* Matrix products over broadcast leading axes.
 *
 *   y[batch] (M, N) = op(a[batch]) op(b[batch])     a (M, K), or (K, M) if trans_a; b (K, N), or (N, K) if trans_b
 *
 * Attributes (ints): m, n, k, trans_a, trans_b, batch_rank, batch[batch_rank], a_strides[batch_rank],
 * b_strides[batch_rank]; strides count matrices, 0 repeats one. k = 0 gives zeros. Nothing may overlap.
 * Few rows (m <= MATMUL_SKINNY) read b once, as it lies; otherwise both are packed block by block in scratch.
 *
 *   matmul_output       a, b -> y
 *   matmul_live_output  the same for few rows and b not transposed, where every number of b is finite: rows of b whose
 *                       factors are all 0 are not read. Gradients behind a ReLU have many. */
#ifndef GCAM_OPS_MATMUL_H
#define GCAM_OPS_MATMUL_H

#include "base/kernel.h"

#define MATMUL_SKINNY 4
#define MATMUL_RANK 6

typedef struct {
    ptrdiff_t m, n, k, trans_a, trans_b, batch_rank;
    ptrdiff_t batch[MATMUL_RANK], a_strides[MATMUL_RANK], b_strides[MATMUL_RANK];
    ptrdiff_t products;      /* matrices of y */
    ptrdiff_t block_columns; /* columns packed at once */
    ptrdiff_t block_rows;    /* rows packed at once */
    ptrdiff_t panel;         /* scratch elements from one column panel to the next */
} gcam_matmul_geom;

gcam_status gcam_matmul_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_matmul_live_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
