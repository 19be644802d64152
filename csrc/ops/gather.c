#include "ops/gather.h"

static gcam_status
geom_init(gcam_gather_geom *g, const gcam_attributes *attributes, size_t *x, size_t *y, gcam_operands *operands)
{
    gcam_reader reader = gcam_reader_start(attributes);
    const ptrdiff_t batch = gcam_read_int(&reader);
    g->shared = gcam_read_int(&reader);
    g->axis = gcam_read_int(&reader);
    g->inner = gcam_read_int(&reader);
    g->count = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (batch < 0 || g->shared < 0 || g->axis < 1 || g->inner < 0 || g->count < 0) {
        return GCAM_E_DIMENSION;
    }
    size_t outer, x_rows, y_rows, steps, indices; /* each must fit, even if another size is 0 */
    if (!gcam_size_mul((size_t)batch, (size_t)g->shared, &outer)
        || !gcam_size_mul((size_t)batch, (size_t)g->count, &indices)) {
        return GCAM_E_SIZE;
    }
    if (!gcam_size_mul(outer, (size_t)g->axis, &x_rows) || !gcam_size_mul(outer, (size_t)g->count, &y_rows)
        || !gcam_size_mul(outer, (size_t)g->inner, &steps) || !gcam_size_mul(x_rows, (size_t)g->inner, x)
        || !gcam_size_mul(y_rows, (size_t)g->inner, y)) {
        return GCAM_E_SIZE;
    }
    g->outer = (ptrdiff_t)outer;
    operands->in[1] = indices;
    operands->in_kind[1] = GCAM_INDEX;
    return GCAM_OK;
}

gcam_status
gcam_gather_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->in[0], &operands->out[0], operands);
}

gcam_status
gcam_gather_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return geom_init(geom, attributes, &operands->out[0], &operands->in[0], operands);
}
