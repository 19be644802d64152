#include "ops/sample.h"

static gcam_status
geom_init(gcam_sample_geom *g, const gcam_attributes *attributes, size_t *x, size_t *w, size_t *y,
          gcam_operands *operands)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->batch = gcam_read_int(&reader);
    g->outer = gcam_read_int(&reader);
    g->axis = gcam_read_int(&reader);
    g->count = gcam_read_int(&reader);
    g->taps = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->batch < 0 || g->outer < 1 || g->axis < 1 || g->count < 0 || g->taps < 1) {
        return GCAM_E_DIMENSION;
    }
    size_t planes, rows; /* each must fit, even if another size is 0 */
    if (!gcam_size_mul((size_t)g->batch, (size_t)g->outer, &planes)
        || !gcam_size_mul((size_t)g->count, (size_t)g->taps, &rows) || !gcam_size_mul((size_t)g->batch, rows, w)
        || !gcam_size_mul((size_t)g->batch, (size_t)g->count, &rows) || !gcam_size_mul(planes, (size_t)g->axis, x)
        || !gcam_size_mul(planes, (size_t)g->count, y)) {
        return GCAM_E_SIZE;
    }
    operands->in[1] = *w;
    operands->in_kind[1] = GCAM_INDEX;
    return GCAM_OK;
}

gcam_status
gcam_sample_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->in[2], &operands->out[0], operands);
}

gcam_status
gcam_sample_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->out[0], &operands->in[2], &operands->in[0], operands);
}

gcam_status
gcam_sample_weight_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0], &operands->in[2], operands);
}
