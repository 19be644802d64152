/* A number per channel of a blocked tensor: global average, its gradient, and scaling (squeeze and excitation).
 *
 *   blocked_channel_mean       x -> y (N, C) plain       mean over the pixels, summed in double
 *   blocked_channel_mean_grad  dy (N, C) plain -> dx     dx = dy / (H W) at every pixel
 *   blocked_channel_scale      x, s (N, C) plain -> y    y = x s; y may be the same array as x if their borders agree
 *
 * No border is read. Spare lanes of dx and y are 0 or, in y, 0 times what x has there. No scratch.
 *
 * Attributes: ints of the blocked tensor (eight), for channel_scale x's eight, then y's. */
#ifndef GCAM_BLOCKED_CHANNEL_H
#define GCAM_BLOCKED_CHANNEL_H

#include "blocked/blocked.h"

typedef struct {
    gcam_blocked in, out; /* out: of channel_scale */
} gcam_blocked_channel_geom;

gcam_status gcam_blocked_channel_mean_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_channel_mean_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_channel_scale_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
