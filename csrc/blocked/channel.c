#include "blocked/channel.h"

#include <string.h>

static gcam_status
mean_init(gcam_blocked_channel_geom *g, const gcam_attributes *attributes, size_t *blocked, size_t *plain)
{
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->in, blocked));
    GCAM_TRY(gcam_reader_finish(&reader));
    return gcam_size_mul((size_t)g->in.n, (size_t)g->in.c, plain) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_channel_mean_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return mean_init(geom, attributes, &operands->in[0], &operands->out[0]);
}

gcam_status
gcam_blocked_channel_mean_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return mean_init(geom, attributes, &operands->out[0], &operands->in[0]);
}

gcam_status
gcam_blocked_channel_scale_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_channel_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->in, &operands->in[0]));
    GCAM_TRY(gcam_read_blocked(&reader, &g->out, &operands->out[0]));
    GCAM_TRY(gcam_reader_finish(&reader));
    const gcam_blocked *x = &g->in, *y = &g->out;
    if (x->n != y->n || x->c != y->c || x->h != y->h || x->w != y->w) {
        return GCAM_E_DIMENSION;
    }
    return gcam_size_mul((size_t)x->n, (size_t)x->c, &operands->in[1]) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_tap_sums_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_taps_geom *g = geom;
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->from, &operands->in[0]));
    gcam_attributes plain = *attributes;
    plain.ints += reader.next_int;
    plain.int_count -= reader.next_int;
    gcam_operands found = {0};
    GCAM_TRY(gcam_tap_sums_init(&g->taps, &plain, &found));
    const gcam_conv_geom *conv = &g->taps.conv;
    if (conv->rank != 2) {
        return GCAM_E_RANK;
    }
    if (conv->n != g->from.n || conv->k != g->from.c || conv->out[1] != g->from.h || conv->out[2] != g->from.w) {
        return GCAM_E_DIMENSION;
    }
    operands->out[0] = found.out[0];
    return gcam_size_mul(found.scratch_bytes, GCAM_BLOCK, &operands->scratch_bytes) ? GCAM_OK : GCAM_E_SIZE;
}
