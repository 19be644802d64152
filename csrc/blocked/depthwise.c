#include "blocked/depthwise.h"

#include <string.h>

gcam_status
gcam_blocked_depthwise_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_depthwise_pack_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->c = gcam_read_int(&reader);
    const ptrdiff_t height = gcam_read_int(&reader), width = gcam_read_int(&reader);
    g->gradient = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->c < 1) {
        return GCAM_E_DIMENSION;
    }
    if (height < 1 || width < 1) {
        return GCAM_E_KERNEL;
    }
    if (g->gradient & ~(ptrdiff_t)1) {
        return GCAM_E_CODE;
    }
    const ptrdiff_t plain[] = {g->c, height, width};
    const ptrdiff_t packed[] = {g->c / GCAM_BLOCK + (g->c % GCAM_BLOCK != 0), height, width, GCAM_BLOCK};
    if (!gcam_size_product(plain, 3, &operands->in[0]) || !gcam_size_elements(packed, 4, &operands->out[0])) {
        return GCAM_E_SIZE;
    }
    g->taps = height * width;
    return GCAM_OK;
}

/* Tensors, window, and the elements of the packed filters. */
static gcam_status
read_geom(gcam_blocked_depthwise_geom *g, gcam_reader *reader, size_t *in, size_t *out, size_t *packed)
{
    memset(g, 0, sizeof *g);
    GCAM_TRY(gcam_read_blocked(reader, &g->in, in));
    GCAM_TRY(gcam_read_blocked(reader, &g->out, out));
    GCAM_TRY(gcam_read_window(reader, &g->window));
    if (g->in.n != g->out.n || g->in.c != g->out.c) {
        return GCAM_E_DIMENSION;
    }
    GCAM_TRY(gcam_check_window(&g->window, g->in.h, g->in.w, g->out.h, g->out.w));
    const ptrdiff_t sizes[] = {g->in.blocks, g->window.kernel[0], g->window.kernel[1], GCAM_BLOCK};
    return gcam_size_elements(sizes, 4, packed) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_blocked_depthwise_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_depthwise_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(read_geom(g, &reader, &operands->in[0], &operands->out[0], &operands->in[1]));
    GCAM_TRY(gcam_read_epilogue(&reader, &g->out, &g->epilogue, &operands->in[3]));
    GCAM_TRY(gcam_reader_finish(&reader));
    operands->in[2] = g->epilogue.has_bias ? (size_t)g->out.c : 0;
    return gcam_check_border(&g->window, &g->in, &g->out);
}

gcam_status
gcam_blocked_depthwise_input_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(read_geom(geom, &reader, &operands->out[0], &operands->in[0], &operands->in[1]));
    return gcam_reader_finish(&reader);
}
