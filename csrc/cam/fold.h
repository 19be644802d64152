/* Sums over the positions of each channel of one array: what fem.h and finite.h are made of.
 *
 * An array of `channels` x `positions` numbers, element (k, x) at k at.c + x at.x; it ends with its last element.
 * Strides are at least 1, or 0 along an axis of size 1.
 *
 * A sum is in double and has GCAM_CAM_LANES partial sums (x goes to number x % GCAM_CAM_LANES, in ascending order),
 * added pairwise at the end: the same bits for every layout, number of workers and ISA. */
#ifndef GCAM_CAM_FOLD_H
#define GCAM_CAM_FOLD_H

#include "cam/cam.h"

enum {
    GCAM_FOLD_CHANNELS = 16, /* channels at a time; a multiple of all numbers of lanes */
};

typedef struct {
    ptrdiff_t channels, positions;
    gcam_cam_strides at;
} gcam_cam_view;

/* What is summed of the numbers a of a channel, given a number s for it. */
typedef enum {
    GCAM_FOLD_VALUE,     /* a */
    GCAM_FOLD_DEVIATION, /* (a - s)^2 */
    GCAM_FOLD_ABOVE,     /* 1 where a > s */
    GCAM_FOLD_OTHER,     /* 1 where a is not s */
    GCAM_FOLD_NONFINITE, /* 1 where a is NaN or infinite */
} gcam_cam_fold;

#endif
