/* Leaving out the channels that hold NaN or infinity.
 *
 *   cam_finite  A[, g] -> m[k] = 1 if channel k of A or of g has a number that is not finite, else 0
 *   cam_drop    x, m -> y[o,k,i] = 0 where m[k] is not 0, else x[o,k,i]
 *
 * Layout: A and g as in cam/fold.h; m has `channels` elements; x, y (outer, channels, inner); all contiguous. No
 * operand may overlap an output. No scratch. Attributes: cam_finite: ints channels, positions, a.c, a.x, g.c, g.x,
 * has_g (0: g is absent, its strides are not read); cam_drop: ints outer, channels, inner. */
#ifndef GCAM_CAM_FINITE_H
#define GCAM_CAM_FINITE_H

#include "cam/fold.h"

typedef struct {
    gcam_cam_view a, g;
    bool has_g;
} gcam_finite_geom;

typedef struct {
    ptrdiff_t outer, channels, inner;
} gcam_drop_geom;

gcam_status gcam_cam_finite_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_drop_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
