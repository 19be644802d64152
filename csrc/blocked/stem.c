#include "blocked/stem.h"

#include <string.h>

/* Elements of the packed filters of `k` channels; *depth = products of a sum. */
static gcam_status
packed_size(ptrdiff_t k, ptrdiff_t c, ptrdiff_t height, ptrdiff_t width, ptrdiff_t *depth, size_t *packed)
{
    if (k < 1 || c < 1 || c > GCAM_STEM_CHANNELS) {
        return GCAM_E_DIMENSION;
    }
    if (height < 1 || width < 1) {
        return GCAM_E_KERNEL;
    }
    const ptrdiff_t sizes[] = {k / GCAM_BLOCK + (k % GCAM_BLOCK != 0), GCAM_BLOCK, c, height, width};
    if (!gcam_size_elements(sizes, 5, packed)) {
        return GCAM_E_SIZE;
    }
    *depth = c * height * width;
    return GCAM_OK;
}

gcam_status
gcam_blocked_stem_pack_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_stem_pack_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->k = gcam_read_int(&reader);
    const ptrdiff_t c = gcam_read_int(&reader), height = gcam_read_int(&reader), width = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    GCAM_TRY(packed_size(g->k, c, height, width, &g->depth, &operands->out[0]));
    operands->in[0] = (size_t)g->k * (size_t)g->depth;
    return GCAM_OK;
}

gcam_status
gcam_blocked_stem_output_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_stem_geom *g = geom;
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    g->c = gcam_read_int(&reader);
    g->h = gcam_read_int(&reader);
    g->w = gcam_read_int(&reader);
    GCAM_TRY(gcam_read_blocked(&reader, &g->out, &operands->out[0]));
    GCAM_TRY(gcam_read_window(&reader, &g->window));
    GCAM_TRY(gcam_read_epilogue(&reader, &g->out, &g->epilogue, &operands->in[3]));
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->h < 1 || g->w < 1) {
        return GCAM_E_DIMENSION;
    }
    const gcam_window *window = &g->window;
    GCAM_TRY(packed_size(g->out.c, g->c, window->kernel[0], window->kernel[1], &g->depth, &operands->in[1]));
    GCAM_TRY(gcam_check_window(window, g->h, g->w, g->out.h, g->out.w));
    operands->in[2] = g->epilogue.has_bias ? (size_t)g->out.c : 0;
    const ptrdiff_t x[] = {g->out.n, g->c, g->h, g->w};
    g->rows = (GCAM_STEM_ROWS - 1) * window->stride[0] + (window->kernel[0] - 1) * window->dilation[0] + 1;
    g->cells = g->w + window->pad_lo[1] + window->pad_hi[1];
    const ptrdiff_t scratch[] = {g->c, g->rows, g->cells, sizeof(double)};
    return gcam_size_elements(x, 4, &operands->in[0]) && gcam_size_product(scratch, 4, &operands->scratch_bytes)
               ? GCAM_OK
               : GCAM_E_SIZE;
}
