#include "ops/matmul.h"

#include <string.h>

#include "ops/gemm.h"

/* Matrices that an operand must hold: 1 + sum (batch - 1) stride. */
static gcam_status
matrices(const gcam_matmul_geom *g, const ptrdiff_t *strides, size_t rows, size_t columns, size_t *elements)
{
    size_t count = 1, step;
    for (ptrdiff_t i = 0; i < g->batch_rank; i++) {
        if (strides[i] < 0) {
            return GCAM_E_STRIDE;
        }
        if (!gcam_size_mul((size_t)(g->batch[i] - 1), (size_t)strides[i], &step)
            || !gcam_size_add(count, step, &count)) {
            return GCAM_E_SIZE;
        }
    }
    /* Rows and columns fit on their own too, where the other size is 0: kernels round them up to whole tiles. */
    size_t bytes;
    if (!gcam_size_mul(rows, sizeof(double), &bytes) || !gcam_size_mul(columns, sizeof(double), &bytes)
        || !gcam_size_mul(rows, columns, elements) || !gcam_size_mul(*elements, count, elements)
        || !gcam_size_mul(*elements, sizeof(double), &bytes)) {
        return GCAM_E_SIZE;
    }
    return GCAM_OK;
}

static gcam_status
read_geom(gcam_matmul_geom *g, const gcam_attributes *attributes)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    g->m = gcam_read_int(&reader);
    g->n = gcam_read_int(&reader);
    g->k = gcam_read_int(&reader);
    g->trans_a = gcam_read_int(&reader);
    g->trans_b = gcam_read_int(&reader);
    g->batch_rank = gcam_read_int(&reader);
    if (g->batch_rank < 0 || g->batch_rank > MATMUL_RANK) {
        return GCAM_E_RANK;
    }
    gcam_read_ints(&reader, g->batch, g->batch_rank);
    gcam_read_ints(&reader, g->a_strides, g->batch_rank);
    gcam_read_ints(&reader, g->b_strides, g->batch_rank);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->m < 0 || g->n < 0 || g->k < 0) {
        return GCAM_E_DIMENSION;
    }
    for (ptrdiff_t i = 0; i < g->batch_rank; i++) {
        if (g->batch[i] < 1) {
            return GCAM_E_DIMENSION;
        }
    }
    return (g->trans_a & ~(ptrdiff_t)1) || (g->trans_b & ~(ptrdiff_t)1) ? GCAM_E_CODE : GCAM_OK;
}

gcam_status
gcam_matmul_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_matmul_geom *g = geom;
    GCAM_TRY(read_geom(g, attributes));
    GCAM_TRY(matrices(g, g->a_strides, (size_t)g->m, (size_t)g->k, &operands->in[0]));
    GCAM_TRY(matrices(g, g->b_strides, (size_t)g->k, (size_t)g->n, &operands->in[1]));
    size_t products, matrix, bytes;
    if (!gcam_size_product(g->batch, (size_t)g->batch_rank, &products)
        || !gcam_size_mul((size_t)g->m, (size_t)g->n, &matrix) || !gcam_size_mul(products, matrix, &operands->out[0])
        || !gcam_size_mul(operands->out[0], 8, &bytes)) {
        return GCAM_E_SIZE;
    }
    g->products = (ptrdiff_t)products;
    const size_t element = attributes->dtype == GCAM_F32 ? 4 : 8;
    const size_t rows = (size_t)attributes->tile.rows, columns = (size_t)attributes->tile.columns;
    g->block_columns = (ptrdiff_t)(GEMM_BLOCK_BYTES / GEMM_DEPTH / element / columns * columns);
    g->block_rows = (ptrdiff_t)(rows * GEMM_PANELS);
    g->panel = (ptrdiff_t)(GEMM_DEPTH * columns + GEMM_SKEW);
    operands->scratch_bytes = ((size_t)g->block_columns / columns * (size_t)g->panel + (size_t)g->block_columns
                               + (size_t)g->block_rows * GEMM_DEPTH)
                              * element;
    return GCAM_OK;
}

gcam_status
gcam_matmul_live_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_matmul_geom *g = geom;
    GCAM_TRY(gcam_matmul_output_init(geom, attributes, operands));
    if (g->trans_b) {
        return GCAM_E_CODE;
    }
    return g->m <= MATMUL_SKINNY ? GCAM_OK : GCAM_E_DIMENSION;
}
