#include "ops/softmax.h"

static gcam_status
geom_init(gcam_softmax_geom *g, const gcam_attributes *attributes, size_t *elements)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->outer = gcam_read_int(&reader);
    g->axis = gcam_read_int(&reader);
    g->inner = gcam_read_int(&reader);
    const ptrdiff_t log = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->outer < 0 || g->axis < 1 || g->inner < 1) {
        return GCAM_E_DIMENSION;
    }
    if (log != 0 && log != 1) {
        return GCAM_E_CODE;
    }
    g->log = (int)log;
    return gcam_size_product((ptrdiff_t[]){g->outer, g->axis, g->inner}, 3, elements) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_softmax_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(geom_init(geom, attributes, &operands->in[0]));
    operands->out[0] = operands->in[0];
    return GCAM_OK;
}

gcam_status
gcam_softmax_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    GCAM_TRY(geom_init(geom, attributes, &operands->in[0]));
    operands->in[1] = operands->out[0] = operands->in[0];
    return GCAM_OK;
}
