/* Feature explanation method (FEM): channels weighed where they stand out, with mu and sd the mean and the population
 * standard deviation of channel k over the positions.
 *
 *   cam_fem_weights  A -> w[k], t[k]; t[k] = mu + 2 sd, rounded up, so that a number of the kernel's type is >= t[k] if
 *                    and only if it is >= mu + 2 sd. variant 0: w = mu; variant 1: w = share of positions with
 *                    A > mu + 2 sd
 *   cam_fem_map      w, t, A -> L[x] = sum_k w[k] m, where m is 1 if A[k, x] >= t[k], else 0
 *
 * A channel of equal finite numbers has t = infinity, so that nothing of it stands out: its mean may differ from them
 * by a rounding error. A channel with NaN or infinity has t = NaN and, in variant 0, w = NaN or infinite, whose product
 * with m = 0 makes all of L NaN.
 *
 * Layout: A as in cam/fold.h; w and t have `channels` elements, L has `positions`, all contiguous. No operand may
 * overlap an output. Attributes of both kernels: ints channels, positions, at.c, at.x, variant. No scratch.
 *
 * Sums over positions as in cam/fold.h, sums over channels in double by ascending k; one rounding at the end. */
#ifndef GCAM_CAM_FEM_H
#define GCAM_CAM_FEM_H

#include "cam/fold.h"

typedef struct {
    gcam_cam_view a;
    int variant;
} gcam_fem_geom;

gcam_status gcam_cam_fem_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_fem_map_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
