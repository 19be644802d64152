#include "blocked/weight.h"

#include <string.h>

gcam_status
gcam_blocked_weight_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_blocked_weight_geom *g = geom;
    memset(g, 0, sizeof *g);
    gcam_reader reader = gcam_reader_start(attributes);
    GCAM_TRY(gcam_read_blocked(&reader, &g->x, &operands->in[1]));
    GCAM_TRY(gcam_read_blocked(&reader, &g->dy, &operands->in[0]));
    GCAM_TRY(gcam_read_window(&reader, &g->window));
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->x.n != g->dy.n) {
        return GCAM_E_DIMENSION;
    }
    GCAM_TRY(gcam_check_window(&g->window, g->x.h, g->x.w, g->dy.h, g->dy.w));
    GCAM_TRY(gcam_check_border(&g->window, &g->x, &g->dy));
    const ptrdiff_t weights[] = {g->dy.c, g->x.c, g->window.kernel[0], g->window.kernel[1], GCAM_BLOCK};
    size_t padded;
    if (!gcam_size_elements(weights, 5, &padded)) { /* tiles are counted with spare lanes */
        return GCAM_E_SIZE;
    }
    operands->out[0] = padded / GCAM_BLOCK;
    g->taps = g->window.kernel[0] * g->window.kernel[1];
    g->strip_rows = g->dy.w < BLOCKED_WEIGHT_STRIP ? BLOCKED_WEIGHT_STRIP / g->dy.w : 1;
    g->strip_rows = g->strip_rows < g->dy.h ? g->strip_rows : g->dy.h;
    g->strips = (g->dy.h + g->strip_rows - 1) / g->strip_rows;
    const ptrdiff_t pixels = g->strip_rows * g->dy.w;
    g->group = pixels < BLOCKED_WEIGHT_GROUP ? BLOCKED_WEIGHT_GROUP / pixels : 1;
    return GCAM_OK;
}
