#include "ops/convert.h"

static gcam_status
geom_init(gcam_convert_geom *g, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->count = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->count < 0) {
        return GCAM_E_DIMENSION;
    }
    operands->in[0] = operands->out[0] = (size_t)g->count;
    return GCAM_OK;
}

gcam_status
gcam_convert_to_real_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    operands->in_kind[0] = GCAM_INDEX;
    return geom_init(geom, attributes, operands);
}

gcam_status
gcam_convert_to_index_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    operands->out_kind[0] = GCAM_INDEX;
    return geom_init(geom, attributes, operands);
}
