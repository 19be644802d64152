#include "blocked/reorder.h"

static gcam_status
reorder_init(gcam_blocked_reorder_geom *g, const gcam_attributes *attributes, size_t *plain, size_t *blocked)
{
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->tensor, blocked));
    GCAM_TRY(gcam_reader_finish(&reader));
    const ptrdiff_t sizes[] = {g->tensor.n, g->tensor.c, g->tensor.h, g->tensor.w};
    return gcam_size_product(sizes, 4, plain) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_from_plain_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return reorder_init(geom, attributes, &operands->in[0], &operands->out[0]);
}

gcam_status
gcam_blocked_to_plain_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return reorder_init(geom, attributes, &operands->out[0], &operands->in[0]);
}

gcam_status
gcam_blocked_copy_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_copy_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->in, &operands->in[0]));
    GCAM_TRY(gcam_read_blocked(&reader, &g->out, &operands->out[0]));
    const ptrdiff_t to = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->in.n != g->out.n || g->in.h != g->out.h || g->in.w != g->out.w) {
        return GCAM_E_DIMENSION;
    }
    const ptrdiff_t room = g->out.c - g->in.c;
    if (to < 0 || to > room || to % GCAM_BLOCK != 0 || (g->in.c % GCAM_BLOCK != 0 && to != room)) {
        return GCAM_E_AXIS;
    }
    g->to_block = to / GCAM_BLOCK;
    return GCAM_OK;
}
