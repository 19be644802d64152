#include "ops/taps.h"

#include <string.h>

/* The widest vector of doubles. */
#define LANES 8

static gcam_status
geom_init(gcam_taps_geom *g, const gcam_attributes *attributes, size_t *dy, size_t *w, size_t *t)
{
    memset(g, 0, sizeof *g);
    gcam_operands plain;
    memset(&plain, 0, sizeof plain);
    GCAM_TRY(gcam_conv_input_grad_naive_init(&g->conv, attributes, &plain));
    *dy = plain.in[0];
    *w = plain.in[1];
    g->taps = g->conv.kernel[0] * g->conv.kernel[1] * g->conv.kernel[2];
    const ptrdiff_t sizes[] = {g->conv.n, g->conv.k, g->taps};
    return gcam_size_elements(sizes, 3, t) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_tap_sums_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_taps_geom *g = geom;
    size_t w;
    GCAM_TRY(geom_init(g, attributes, &operands->in[0], &w, &operands->out[0]));
    return gcam_size_mul((size_t)g->taps, sizeof(double), &operands->scratch_bytes) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_tap_product_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_taps_geom *g = geom;
    if (attributes->real_count != 1) {
        return GCAM_E_ATTRIBUTE_COUNT;
    }
    gcam_attributes ints = *attributes;
    ints.real_count = 0;
    size_t dy;
    GCAM_TRY(geom_init(g, &ints, &dy, &operands->in[1], &operands->in[0]));
    g->divisor = attributes->reals[0];
    g->block = g->taps < TAPS_BLOCK ? TAPS_BLOCK / g->taps : 1;
    size_t sums, patterns, elements;
    if (!gcam_size_round_up((size_t)(g->block * g->taps), LANES, &sums)
        || !gcam_size_mul((size_t)g->taps, (size_t)(LANES * TAPS_TOGETHER), &patterns)
        || !gcam_size_add(sums, patterns, &elements)
        || !gcam_size_mul(elements, sizeof(double), &operands->scratch_bytes)) {
        return GCAM_E_SIZE;
    }
    g->sums = (ptrdiff_t)sums;
    const ptrdiff_t sizes[] = {g->conv.n, g->conv.c};
    return gcam_size_elements(sizes, 2, &operands->out[0]) ? GCAM_OK : GCAM_E_SIZE;
}
