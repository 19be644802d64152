/* Block sizes of the matrix product (ops/gemm.tmpl.h). */
#ifndef GCAM_OPS_GEMM_H
#define GCAM_OPS_GEMM_H

/* Depth of a block: a panel of columns then fits the first-level cache. */
#define GEMM_DEPTH 256
/* Bytes of packed columns that stay in the second-level cache. */
#define GEMM_BLOCK_BYTES (256 * 1024)
/* Row panels worked on against one column panel before the next. */
#define GEMM_PANELS 16
/* Elements added between column panels, so that they do not all begin in the same cache set. */
#define GEMM_SKEW 16

#endif
