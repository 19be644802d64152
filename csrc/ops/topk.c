#include "ops/topk.h"

gcam_status
gcam_topk_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_topk_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->outer = gcam_read_int(&reader);
    g->n = gcam_read_int(&reader);
    g->count = gcam_read_int(&reader);
    const ptrdiff_t largest = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->outer < 0 || g->n < 1) {
        return GCAM_E_DIMENSION;
    }
    if (g->count < 1 || g->count > g->n) {
        return GCAM_E_PARAMETER;
    }
    if (largest < 0 || largest > 1) {
        return GCAM_E_CODE;
    }
    g->largest = largest == 1;
    if (!gcam_size_mul((size_t)g->outer, (size_t)g->n, &operands->in[0])
        || !gcam_size_mul((size_t)g->outer, (size_t)g->count, &operands->out[0])) {
        return GCAM_E_SIZE;
    }
    operands->out_kind[0] = GCAM_INDEX;
    return GCAM_OK;
}
