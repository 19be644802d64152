#include "ops/batch_norm.h"

#include <math.h>

static gcam_status
geom_init(gcam_batch_norm_geom *g, const gcam_attributes *attributes, size_t *elements)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->n = gcam_read_int(&reader);
    g->c = gcam_read_int(&reader);
    g->inner = gcam_read_int(&reader);
    g->epsilon = gcam_read_real(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->n < 0 || g->c < 1 || g->inner < 1) {
        return GCAM_E_DIMENSION;
    }
    if (!(g->epsilon >= 0 && g->epsilon < HUGE_VAL)) {
        return GCAM_E_PARAMETER;
    }
    return gcam_size_product((ptrdiff_t[]){g->n, g->c, g->inner}, 3, elements) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_batch_norm_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_batch_norm_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, &operands->in[0]));
    operands->in[1] = operands->in[2] = operands->in[3] = operands->in[4] = (size_t)g->c;
    operands->out[0] = operands->in[0];
    return GCAM_OK;
}

gcam_status
gcam_batch_norm_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_batch_norm_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, &operands->in[0]));
    operands->in[1] = operands->in[2] = (size_t)g->c;
    operands->out[0] = operands->in[0];
    return GCAM_OK;
}

gcam_status
gcam_batch_norm_train_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_batch_norm_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, &operands->in[0]));
    operands->in[1] = operands->in[2] = operands->out[1] = operands->out[2] = (size_t)g->c;
    operands->out[0] = operands->in[0];
    return g->n < 1 ? GCAM_E_DIMENSION : GCAM_OK;
}

gcam_status
gcam_batch_norm_train_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_batch_norm_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, &operands->in[0]));
    operands->in[1] = operands->out[0] = operands->in[0];
    operands->in[2] = operands->in[3] = operands->in[4] = operands->out[1] = operands->out[2] = (size_t)g->c;
    return g->n < 1 ? GCAM_E_DIMENSION : GCAM_OK;
}
