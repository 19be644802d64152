#include "cam/fem.h"

static gcam_status
geom_init(gcam_fem_geom *g, const gcam_attributes *attributes, size_t *a_elements)
{
    gcam_reader reader = gcam_reader_start(attributes);
    g->a.channels = gcam_read_int(&reader);
    g->a.positions = gcam_read_int(&reader);
    g->a.at.c = gcam_read_int(&reader);
    g->a.at.x = gcam_read_int(&reader);
    const ptrdiff_t variant = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (variant < 0 || variant > 1) {
        return GCAM_E_CODE;
    }
    g->variant = (int)variant;
    return gcam_cam_elements(g->a.channels, g->a.positions, g->a.at, a_elements);
}

gcam_status
gcam_cam_fem_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_fem_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, &operands->in[0]));
    operands->out[0] = operands->out[1] = (size_t)g->a.channels;
    return GCAM_OK;
}

gcam_status
gcam_cam_fem_map_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_fem_geom *g = geom;
    GCAM_TRY(geom_init(g, attributes, &operands->in[2]));
    operands->in[0] = operands->in[1] = (size_t)g->a.channels;
    operands->out[0] = (size_t)g->a.positions;
    return GCAM_OK;
}
