#include "cam/finite.h"

gcam_status
gcam_cam_finite_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_finite_geom *f = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    f->a.channels = f->g.channels = gcam_read_int(&reader);
    f->a.positions = f->g.positions = gcam_read_int(&reader);
    f->a.at.c = gcam_read_int(&reader);
    f->a.at.x = gcam_read_int(&reader);
    f->g.at.c = gcam_read_int(&reader);
    f->g.at.x = gcam_read_int(&reader);
    const ptrdiff_t has_g = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (has_g < 0 || has_g > 1) {
        return GCAM_E_CODE;
    }
    f->has_g = has_g == 1;
    GCAM_TRY(gcam_cam_elements(f->a.channels, f->a.positions, f->a.at, &operands->in[0]));
    if (f->has_g) {
        GCAM_TRY(gcam_cam_elements(f->g.channels, f->g.positions, f->g.at, &operands->in[1]));
    }
    operands->out[0] = (size_t)f->a.channels;
    return GCAM_OK;
}

gcam_status
gcam_cam_drop_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_drop_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->outer = gcam_read_int(&reader);
    g->channels = gcam_read_int(&reader);
    g->inner = gcam_read_int(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->outer < 1 || g->channels < 1 || g->inner < 1) {
        return GCAM_E_DIMENSION;
    }
    size_t rows;
    if (!gcam_size_mul((size_t)g->outer, (size_t)g->channels, &rows)
        || !gcam_size_mul(rows, (size_t)g->inner, &operands->in[0])) {
        return GCAM_E_SIZE;
    }
    operands->in[1] = (size_t)g->channels;
    operands->out[0] = operands->in[0];
    return GCAM_OK;
}
