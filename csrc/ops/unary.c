#include "ops/unary.h"

static gcam_status
geom_init(gcam_unary_geom *g, const gcam_attributes *attributes)
{
    gcam_reader reader = gcam_reader_start(attributes);
    const ptrdiff_t op = gcam_read_int(&reader);
    g->count = gcam_read_int(&reader);
    g->alpha = gcam_read_real(&reader);
    g->beta = gcam_read_real(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (op < 0 || op >= GCAM_UNARY_OPS) {
        return GCAM_E_CODE;
    }
    g->op = (gcam_unary_op)op;
    return g->count < 0 ? GCAM_E_DIMENSION : GCAM_OK;
}

gcam_status
gcam_unary_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_unary_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = operands->out[0] = (size_t)g->count;
    return GCAM_OK;
}

gcam_status
gcam_unary_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_unary_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes));
    operands->in[0] = operands->in[1] = operands->out[0] = (size_t)g->count;
    return GCAM_OK;
}

/* Checks the function and returns the bytes of one bit per element. */
static gcam_status
bits_init(gcam_unary_geom *g, const gcam_attributes *attributes, size_t *bytes)
{
    GCAM_TRY(geom_init(g, attributes));
    if (g->op != GCAM_UNARY_RELU && g->op != GCAM_UNARY_CLIP) {
        return GCAM_E_CODE;
    }
    *bytes = ((size_t)g->count / GCAM_BITS + (g->count % GCAM_BITS != 0)) * (GCAM_BITS / 8);
    return GCAM_OK;
}

gcam_status
gcam_unary_slope_bits_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_unary_geom *g = geom;
    GCAM_TRY(bits_init(g, attributes, &operands->out[0]));
    operands->in[0] = (size_t)g->count;
    operands->out_kind[0] = GCAM_BYTE;
    return GCAM_OK;
}

gcam_status
gcam_unary_bits_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_unary_geom *g = geom;
    GCAM_TRY(bits_init(g, attributes, &operands->in[0]));
    operands->in[1] = operands->out[0] = (size_t)g->count;
    operands->in_kind[0] = GCAM_BYTE;
    return GCAM_OK;
}
