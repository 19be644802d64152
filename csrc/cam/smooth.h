/* Channel weights of Smooth Grad-CAM++: gradients of noisy inputs g[i, k, x], i < samples, and activations A[k, x].
 *
 *   cam_smooth_weights  A, g -> w[k], d[k], with D2 = mean_i g^2, D3 = mean_i g^3, s = sum_x A D3, R(v) = v < 0 ? 0 : v
 *                       variant 0: w = sum_x D2 / (2 D2 + s) R(mean_i g). Where the denominator is 0 the term is 0, and
 *                                  d[k] = 1 (else 0) if D2 is not
 *                       variant 1: w = sum_x D2 / (2 D2 + s + epsilon) R(g of the last sample); d = 0
 *
 * Layout: A is [channels][positions], or [positions][channels] if channels_last; g is `samples` such blocks; all
 * contiguous. w and d have `channels` elements. No operand may overlap an output.
 *
 * Attributes: ints samples, channels, positions, channels_last (0, 1), variant; real epsilon. No scratch.
 * Everything is in double; sums go over samples and over positions in ascending order. */
#ifndef GCAM_CAM_SMOOTH_H
#define GCAM_CAM_SMOOTH_H

#include <stdbool.h>

#include "base/kernel.h"

typedef struct {
    ptrdiff_t samples, channels, positions;
    bool channels_last;
    int variant;
    double epsilon;
} gcam_cam_smooth_geom;

gcam_status gcam_cam_smooth_weights_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
