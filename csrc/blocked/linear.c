#include "blocked/linear.h"

#include <string.h>

#include "blocked/bf16.h"

static gcam_status
geom_init(gcam_linear_geom *g, const gcam_attributes *attributes, int bf16, size_t *packed)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    g->rows = gcam_read_int(&reader);
    g->k = gcam_read_int(&reader);
    g->m = gcam_read_int(&reader);
    g->transposed = gcam_read_int(&reader);
    GCAM_TRY(gcam_read_finish(&reader, &g->epilogue));
    if (bf16) {
        GCAM_TRY(gcam_read_bf16(&reader, &g->bf16_result, &g->bf16_residual));
    }
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->rows < 1 || g->k < 1 || g->m < 1 || g->k % GCAM_BLOCK != 0 || g->m % GCAM_BLOCK != 0) {
        return GCAM_E_DIMENSION;
    }
    if (g->transposed & ~(ptrdiff_t)1) {
        return GCAM_E_CODE;
    }
    const ptrdiff_t channels = attributes->tile.channels, tiles = (g->m - 1) / channels + 1;
    const ptrdiff_t sizes[] = {tiles, channels, g->k};
    return gcam_size_elements(sizes, 3, packed) ? GCAM_OK : GCAM_E_SIZE;
}

static gcam_status
matrix(ptrdiff_t rows, ptrdiff_t columns, size_t *elements)
{
    const ptrdiff_t sizes[] = {rows, columns};
    return gcam_size_elements(sizes, 2, elements) ? GCAM_OK : GCAM_E_SIZE;
}

static gcam_status
pack_init(gcam_linear_geom *g, const gcam_attributes *attributes, int bf16, gcam_operands *operands)
{
    GCAM_TRY(geom_init(g, attributes, bf16, &operands->out[0]));
    return matrix(g->k, g->m, &operands->in[0]);
}

/* How rows and sums are cut, which depends on the shape alone, and the scratch for them. */
static gcam_status
derive_blocks(gcam_linear_geom *g, const gcam_attributes *attributes, size_t *scratch_bytes)
{
    const ptrdiff_t blocks = g->k / GCAM_BLOCK, parts = (g->k - 1) / LINEAR_DEPTH + 1;
    const ptrdiff_t tiles = (g->m - 1) / attributes->tile.channels + 1;
    g->block_rows = g->rows < LINEAR_ROWS ? g->rows : LINEAR_ROWS;
    g->line = (g->block_rows | 1) * GCAM_BLOCK; /* odd: lines then do not meet in the same sets of the cache */
    g->depth = (blocks - 1) / parts + 1;
    g->kept = parts == 1 && tiles > LINEAR_TILES ? LINEAR_TILES : tiles;
    const size_t element = attributes->dtype == GCAM_F32 ? 4 : 8;
    const size_t tile_blocks = (size_t)(attributes->tile.channels / GCAM_BLOCK);
    size_t lines;
    if (!gcam_size_mul((size_t)g->kept, tile_blocks, &lines) || !gcam_size_add(lines, (size_t)g->depth, &lines)
        || !gcam_size_mul(lines, (size_t)g->line * element, scratch_bytes)) {
        return GCAM_E_SIZE;
    }
    return GCAM_OK;
}

static gcam_status
output_init(gcam_linear_geom *g, const gcam_attributes *attributes, int bf16, gcam_operands *operands)
{
    GCAM_TRY(geom_init(g, attributes, bf16, &operands->in[1]));
    GCAM_TRY(matrix(g->rows, g->k, &operands->in[0]));
    GCAM_TRY(matrix(g->rows, g->m, &operands->out[0]));
    operands->in[2] = g->epilogue.has_bias ? (size_t)g->m : 0;
    operands->in[3] = g->epilogue.has_residual ? operands->out[0] : 0;
    return GCAM_OK;
}

gcam_status
gcam_linear_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return pack_init(geom, attributes, 0, operands);
}

gcam_status
gcam_linear_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(output_init(geom, attributes, 0, operands));
    return derive_blocks(geom, attributes, &operands->scratch_bytes);
}

gcam_status
gcam_bf16_linear_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    operands->out_kind[0] = GCAM_BF16;
    return pack_init(geom, attributes, 1, operands);
}

gcam_status
gcam_bf16_linear_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_linear_geom *g = geom;
    GCAM_TRY(output_init(g, attributes, 1, operands));
    gcam_bf16_kinds(g->bf16_result, g->bf16_residual, operands);
    return GCAM_OK;
}
