#include "ops/rows.h"

gcam_status
gcam_rows_number_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_rows_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->batch = 1;
    g->count = gcam_read_int(&reader);
    g->depth = gcam_read_int(&reader);
    g->wrap = gcam_read_int(&reader) != 0;
    g->has_base = gcam_read_int(&reader) != 0;
    if (g->depth < 1 || g->depth > GCAM_MAX_RANK) {
        return GCAM_E_RANK;
    }
    gcam_read_ints(&reader, g->size, g->depth);
    gcam_read_ints(&reader, g->stride, g->depth);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->count < 0) {
        return GCAM_E_DIMENSION;
    }
    size_t rows = 0;
    for (ptrdiff_t k = 0; k < g->depth; k++) {
        size_t reach;
        if (g->size[k] < 1) {
            return GCAM_E_DIMENSION;
        }
        if (g->stride[k] < 0) {
            return GCAM_E_STRIDE;
        }
        if (!gcam_size_mul((size_t)g->size[k], (size_t)g->stride[k], &reach) || !gcam_size_add(rows, reach, &rows)) {
            return GCAM_E_SIZE;
        }
    }
    operands->out[0] = (size_t)g->count;
    operands->in[1] = g->has_base ? (size_t)g->count : 0;
    operands->in_kind[0] = operands->in_kind[1] = operands->out_kind[0] = GCAM_INDEX;
    return gcam_size_mul((size_t)g->count, (size_t)g->depth, &operands->in[0]) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_rows_last_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_rows_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->batch = gcam_read_int(&reader);
    g->count = gcam_read_int(&reader);
    g->size[0] = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    g->depth = 1;
    g->wrap = true;
    if (g->batch < 0 || g->count < 0 || g->size[0] < 1) {
        return GCAM_E_DIMENSION;
    }
    operands->in_kind[0] = operands->out_kind[0] = GCAM_INDEX;
    const bool fits = gcam_size_mul((size_t)g->batch, (size_t)g->count, &operands->in[0])
                      && gcam_size_mul((size_t)g->batch, (size_t)g->size[0], &operands->out[0]);
    return fits ? GCAM_OK : GCAM_E_SIZE;
}
