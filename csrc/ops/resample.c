#include "ops/resample.h"

gcam_status
gcam_resample_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_resample_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->outer = gcam_read_int(&reader);
    g->axis = gcam_read_int(&reader);
    g->inner = gcam_read_int(&reader);
    g->count = gcam_read_int(&reader);
    g->taps = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->outer < 0 || g->axis < 1 || g->inner < 0 || g->count < 0 || g->taps < 1) {
        return GCAM_E_DIMENSION;
    }
    size_t x_rows, y_rows; /* each must fit, even if another size is 0 */
    if (!gcam_size_mul((size_t)g->outer, (size_t)g->axis, &x_rows)
        || !gcam_size_mul((size_t)g->outer, (size_t)g->count, &y_rows)
        || !gcam_size_mul(x_rows, (size_t)g->inner, &operands->in[0])
        || !gcam_size_mul(y_rows, (size_t)g->inner, &operands->out[0])
        || !gcam_size_add((size_t)g->count, 1, &operands->in[1])) {
        return GCAM_E_SIZE;
    }
    operands->in[2] = operands->in[3] = (size_t)g->taps;
    operands->in_kind[1] = operands->in_kind[2] = GCAM_INDEX;
    return GCAM_OK;
}
