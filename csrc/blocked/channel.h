/* A number per channel of a blocked tensor: global average, its gradient, and scaling (squeeze and excitation).
 *
 *   blocked_channel_mean       x -> y (N, C) plain       mean over the pixels, summed in double
 *   blocked_channel_mean_grad  dy (N, C) plain -> dx     dx = dy / (H W) at every pixel
 *   blocked_channel_scale      x, s (N, C) plain -> y    y = x s; y may be the same array as x if their borders agree
 *   blocked_tap_sums           dy -> t plain             tap_sums of ops/taps.h for two spatial axes
 *
 * No border is read. Spare lanes of dx and y are 0 or, in y, 0 times what x has there. Scratch: the sums of a
 * block, of tap_sums alone.
 *
 * Attributes: ints of the blocked tensor (eight), for channel_scale x's eight, then y's; for tap_sums
 * dy's eight, then all of ops/conv.h. */
#ifndef GCAM_BLOCKED_CHANNEL_H
#define GCAM_BLOCKED_CHANNEL_H

#include "blocked/blocked.h"
#include "ops/taps.h"

typedef struct {
    gcam_blocked in, out; /* out: of channel_scale */
} gcam_blocked_channel_geom;

typedef struct {
    gcam_blocked from;
    gcam_taps_geom taps;
} gcam_blocked_taps_geom;

/* Neighbouring pixels go to sums of their own: one sum would wait for each addition. */
#define CHANNEL_SUMS 4

gcam_status gcam_blocked_channel_mean_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_channel_mean_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_channel_scale_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_blocked_tap_sums_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
