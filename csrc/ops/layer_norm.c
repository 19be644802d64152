#include "ops/layer_norm.h"

#include <math.h>

static gcam_status
geom_init(gcam_layer_norm_geom *g, const gcam_attributes *attributes, ptrdiff_t has[2], size_t *elements)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->rows = gcam_read_int(&reader);
    g->n = gcam_read_int(&reader);
    gcam_read_ints(&reader, has, 2);
    g->epsilon = gcam_read_real(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->rows < 0 || g->n < 1) {
        return GCAM_E_DIMENSION;
    }
    if (has[0] < 0 || has[0] > 1 || has[1] < 0 || has[1] > 1) {
        return GCAM_E_CODE;
    }
    if (!(g->epsilon >= 0 && g->epsilon < HUGE_VAL)) {
        return GCAM_E_PARAMETER;
    }
    return gcam_size_product((ptrdiff_t[]){g->rows, g->n}, 2, elements) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_layer_norm_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_layer_norm_geom *g = geom;
    ptrdiff_t has[2];
    GCAM_TRY(geom_init(g, attributes, has, &operands->in[0]));
    operands->in[1] = has[0] ? (size_t)g->n : 0;
    operands->in[2] = has[1] ? (size_t)g->n : 0;
    operands->out[0] = operands->in[0];
    return GCAM_OK;
}

gcam_status
gcam_layer_norm_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_layer_norm_geom *g = geom;
    ptrdiff_t has[2];
    GCAM_TRY(geom_init(g, attributes, has, &operands->in[0]));
    operands->in[1] = has[0] ? (size_t)g->n : 0;
    operands->in[2] = operands->out[0] = operands->in[0];
    return has[1] ? GCAM_E_CODE : GCAM_OK;
}
