#include "cam/smooth.h"

#include <math.h>

gcam_status
gcam_cam_smooth_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands)
{
    gcam_cam_smooth_geom *g = geom;
    gcam_reader reader = gcam_reader_start(attributes);
    g->samples = gcam_read_int(&reader);
    g->channels = gcam_read_int(&reader);
    g->positions = gcam_read_int(&reader);
    const ptrdiff_t channels_last = gcam_read_int(&reader);
    const ptrdiff_t variant = gcam_read_int(&reader);
    g->epsilon = gcam_read_real(&reader);
    GCAM_TRY(gcam_reader_finish(&reader));
    if (g->samples < 1 || g->channels < 1 || g->positions < 1) {
        return GCAM_E_DIMENSION;
    }
    if (variant < 0 || variant > 1 || channels_last < 0 || channels_last > 1) {
        return GCAM_E_CODE;
    }
    if (!isfinite(g->epsilon) || g->epsilon < 0) {
        return GCAM_E_PARAMETER;
    }
    g->variant = (int)variant;
    g->channels_last = channels_last == 1;
    if (!gcam_size_mul((size_t)g->channels, (size_t)g->positions, &operands->in[0])
        || !gcam_size_mul(operands->in[0], (size_t)g->samples, &operands->in[1])) {
        return GCAM_E_SIZE;
    }
    operands->out[0] = operands->out[1] = (size_t)g->channels;
    return GCAM_OK;
}
