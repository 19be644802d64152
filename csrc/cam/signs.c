#include "cam/signs.h"

gcam_status
gcam_cam_quadrants_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_cam_geom *g = geom;
    size_t a_elements, g_elements;
    GCAM_TRY(gcam_cam_product_init(geom, attributes, operands));
    a_elements = operands->in[0];
    g_elements = operands->in[1];
    if (g->variant > 1) {
        return GCAM_E_CODE;
    }
    operands->in[0] = g->variant == 0 ? (size_t)g->channels : g_elements;
    operands->in[1] = a_elements;
    operands->out[1] = (size_t)g->positions;
    return gcam_size_mul(4, (size_t)g->positions, &operands->out[0]) ? GCAM_OK : GCAM_E_SIZE;
}

gcam_status
gcam_cam_channel_signs_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    const gcam_cam_geom *g = geom;
    GCAM_TRY(gcam_cam_channel_mean_init(geom, attributes, operands));
    return gcam_size_mul(GCAM_SIGNS_COLUMNS, (size_t)g->channels, &operands->out[0]) ? GCAM_OK : GCAM_E_SIZE;
}
