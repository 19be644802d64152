#include "cam/cam.h"

#include <math.h>

gcam_status
gcam_cam_elements(ptrdiff_t channels, ptrdiff_t positions, gcam_cam_strides strides, size_t *elements)
{
    if (channels < 1 || positions < 1) {
        return GCAM_E_DIMENSION;
    }
    if (strides.c < (channels > 1) || strides.x < (positions > 1)) {
        return GCAM_E_STRIDE;
    }
    size_t channels_reach, positions_reach;
    if (!gcam_size_mul((size_t)channels - 1, (size_t)strides.c, &channels_reach)
        || !gcam_size_mul((size_t)positions - 1, (size_t)strides.x, &positions_reach)
        || !gcam_size_add(channels_reach, positions_reach, elements) || !gcam_size_add(*elements, 1, elements)) {
        return GCAM_E_SIZE;
    }
    return GCAM_OK;
}

static gcam_status
geom_init(gcam_cam_geom *g, const gcam_attributes *attributes, ptrdiff_t variants, size_t *a_elements,
          size_t *g_elements)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->channels = gcam_read_int(&reader);
    g->positions = gcam_read_int(&reader);
    g->a.c = gcam_read_int(&reader);
    g->a.x = gcam_read_int(&reader);
    g->g.c = gcam_read_int(&reader);
    g->g.x = gcam_read_int(&reader);
    const ptrdiff_t variant = gcam_read_int(&reader);
    const ptrdiff_t omit_nan = gcam_read_int(&reader);
    g->epsilon = gcam_read_real(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->channels < 1 || g->positions < 1) {
        return GCAM_E_DIMENSION;
    }
    if (variant < 0 || variant >= variants || omit_nan < 0 || omit_nan > 1) {
        return GCAM_E_CODE;
    }
    if (!isfinite(g->epsilon) || g->epsilon < 0) {
        return GCAM_E_PARAMETER;
    }
    g->variant = (int)variant;
    g->omit_nan = omit_nan == 1;
    GCAM_TRY(gcam_cam_elements(g->channels, g->positions, g->a, a_elements));
    return gcam_cam_elements(g->channels, g->positions, g->g, g_elements);
}

gcam_status
gcam_cam_channel_mean_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_cam_geom *g = geom;
    size_t a_elements;
    GCAM_TRY(geom_init(g, attributes, 1, &a_elements, &operands->in[0]));
    operands->out[0] = (size_t)g->channels;
    return GCAM_OK;
}

static gcam_status
weights_init(void *geom, const gcam_attributes *attributes, ptrdiff_t variants, gcam_operands *operands)
{
    gcam_cam_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, variants, &operands->in[0], &operands->in[1]));
    operands->out[0] = operands->out[1] = (size_t)g->channels;
    return GCAM_OK;
}

gcam_status
gcam_cam_plusplus_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return weights_init(geom, attributes, 3, operands);
}

gcam_status
gcam_cam_xgrad_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    return weights_init(geom, attributes, 2, operands);
}

gcam_status
gcam_cam_combine_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_cam_geom *g = geom;
    size_t g_elements;
    GCAM_TRY(geom_init(g, attributes, 1, &operands->in[1], &g_elements));
    operands->in[0] = (size_t)g->channels;
    operands->out[0] = (size_t)g->positions;
    return GCAM_OK;
}

gcam_status
gcam_cam_product_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_cam_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, 3, &operands->in[0], &operands->in[1]));
    operands->out[0] = (size_t)g->positions;
    return GCAM_OK;
}
