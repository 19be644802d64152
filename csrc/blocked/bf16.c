#include "blocked/bf16.h"

#include "blocked/blocked.h"

gcam_status
gcam_bf16_round_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_bf16_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->count = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->count < 0 || g->count % GCAM_BLOCK != 0) {
        return GCAM_E_DIMENSION;
    }
    operands->in[0] = operands->out[0] = (size_t)g->count;
    operands->out_kind[0] = GCAM_BF16;
    return attributes->bf16 ? GCAM_OK : GCAM_E_BF16;
}

gcam_status
gcam_read_bf16(gcam_reader *reader, ptrdiff_t *result, ptrdiff_t *residual)
{
    *result = gcam_read_int(reader);
    *residual = gcam_read_int(reader);
    if ((*result & ~(ptrdiff_t)1) || (*residual & ~(ptrdiff_t)1)) {
        return GCAM_E_CODE;
    }
    return reader->attributes->bf16 ? reader->status : GCAM_E_BF16;
}

void
gcam_bf16_kinds(ptrdiff_t result, ptrdiff_t residual, gcam_operands *operands)
{
    operands->in_kind[0] = operands->in_kind[1] = GCAM_BF16;
    operands->in_kind[3] = residual ? GCAM_BF16 : GCAM_REAL;
    operands->out_kind[0] = result ? GCAM_BF16 : GCAM_REAL;
}
