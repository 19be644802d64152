#include "blocked/attention.h"

#include <string.h>

/* A view of rows of `last` numbers that lie together; *reach is the number of its last element. */
static gcam_status
read_view(gcam_reader *reader, const gcam_attention_geom *g, ptrdiff_t rows, ptrdiff_t last, gcam_attention_view *view,
          size_t *elements, size_t *reach)
{
    const ptrdiff_t size = gcam_read_int(reader);
    view->offset = gcam_read_int(reader);
    view->row = gcam_read_int(reader);
    gcam_read_ints(reader, view->batch, g->batch_rank);
    if (size < 0 || view->offset < 0 || view->row < 0) {
        return GCAM_E_STRIDE;
    }
    size_t step;
    if (!gcam_size_mul((size_t)(rows - 1), (size_t)view->row, &step) || !gcam_size_add(step, (size_t)(last - 1), reach)
        || !gcam_size_add(*reach, (size_t)view->offset, reach)) {
        return GCAM_E_SIZE;
    }
    for (ptrdiff_t i = 0; i < g->batch_rank; i++) {
        if (view->batch[i] < 0) {
            return GCAM_E_STRIDE;
        }
        if (!gcam_size_mul((size_t)(g->batch[i] - 1), (size_t)view->batch[i], &step)
            || !gcam_size_add(*reach, step, reach)) {
            return GCAM_E_SIZE;
        }
    }
    *elements = (size_t)size;
    return *reach < (size_t)size ? GCAM_OK : GCAM_E_STRIDE;
}

static gcam_status
read_geom(gcam_attention_geom *g, const gcam_attributes *attributes, gcam_operands *operands)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    g->batch_rank = gcam_read_int(&reader);
    g->rows = gcam_read_int(&reader);
    g->keys = gcam_read_int(&reader);
    g->depth = gcam_read_int(&reader);
    g->width = gcam_read_int(&reader);
    g->has_bias = gcam_read_int(&reader);
    if (g->batch_rank < 0 || g->batch_rank > ATTENTION_RANK) {
        return GCAM_E_RANK;
    }
    gcam_read_ints(&reader, g->batch, g->batch_rank);
    const ptrdiff_t whole[] = {g->rows, g->keys, g->depth, g->width};
    for (int i = 0; i < 4; i++) {
        if (whole[i] < 1 || (i < g->batch_rank && g->batch[i] < 1)) {
            return GCAM_E_DIMENSION;
        }
    }
    if (g->has_bias & ~(ptrdiff_t)1) {
        return GCAM_E_CODE;
    }
    size_t reach, heads, sums;
    GCAM_TRY(read_view(&reader, g, g->rows, g->depth, &g->q, &operands->in[0], &reach));
    GCAM_TRY(read_view(&reader, g, g->keys, g->depth, &g->k, &operands->in[1], &reach));
    GCAM_TRY(read_view(&reader, g, g->keys, g->width, &g->v, &operands->in[2], &reach));
    if (g->has_bias) {
        GCAM_TRY(read_view(&reader, g, g->rows, g->keys, &g->bias, &operands->in[3], &reach));
    }
    GCAM_TRY(read_view(&reader, g, g->rows, g->width, &g->y, &operands->out[0], &reach));
    g->scale = gcam_read_real(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (!gcam_size_product(g->batch, (size_t)g->batch_rank, &heads) || !gcam_size_mul(heads, (size_t)g->rows, &sums)
        || !gcam_size_mul(sums, (size_t)g->width, &sums)) {
        return GCAM_E_SIZE;
    }
    g->heads = (ptrdiff_t)heads;
    return sums == operands->out[0] && reach + 1 == sums ? GCAM_OK : GCAM_E_STRIDE;
}

/* Adds an array of lines to the scratch. */
static bool
reserve(ptrdiff_t lines, ptrdiff_t line, size_t *elements)
{
    size_t size;
    return gcam_size_mul((size_t)lines, (size_t)line, &size) && gcam_size_add(*elements, size, elements);
}

gcam_status
gcam_attention_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_attention_geom *g = geom;
    GCAM_TRY(read_geom(g, attributes, operands));
    const ptrdiff_t element = attributes->dtype == GCAM_F32 ? 4 : 8, channels = attributes->tile.channels;
    g->depth_blocks = (g->depth - 1) / GCAM_BLOCK + 1;
    g->key_blocks = (g->keys - 1) / GCAM_BLOCK + 1;
    const ptrdiff_t most = ATTENTION_SCORE_BYTES / element / GCAM_BLOCK / g->key_blocks;
    g->block_rows = most < 28 ? 28 : most < ATTENTION_ROWS ? most : ATTENTION_ROWS;
    g->block_rows = g->rows < g->block_rows ? g->rows : g->block_rows;
    g->row_blocks = (g->rows - 1) / g->block_rows + 1;
    g->block_rows = (g->rows - 1) / g->row_blocks + 1;
    g->line = (g->block_rows | 1) * GCAM_BLOCK;
    size_t elements = 0, units;
    bool fits = reserve(g->depth_blocks, g->line, &elements);
    g->packed_k = (ptrdiff_t)elements;
    fits = fits && reserve((g->keys - 1) / channels + 1, channels * g->depth_blocks * GCAM_BLOCK, &elements);
    g->packed_v = (ptrdiff_t)elements;
    fits = fits && reserve((g->width - 1) / channels + 1, channels * g->key_blocks * GCAM_BLOCK, &elements);
    g->scores = (ptrdiff_t)elements;
    fits = fits && reserve(g->key_blocks, g->line, &elements);
    g->results = (ptrdiff_t)elements;
    fits = fits && reserve((g->width - 1) / GCAM_BLOCK + 1, g->line, &elements);
    fits = fits && gcam_size_mul(elements, (size_t)element, &operands->scratch_bytes)
           && gcam_size_mul((size_t)g->heads, (size_t)g->row_blocks, &units);
    return fits ? GCAM_OK : GCAM_E_SIZE;
}
