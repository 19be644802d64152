/* Where the sign of a class-activation map comes from, one picture at a time: activations A[k, x] times weights w[k] or
 * gradients g[k, x] with channels k and positions x.
 *
 *   cam_quadrants      u, A -> Q, L. u is w (variant 0) or g (variant 1); Q holds four maps one after the other:
 *                      Q1[x] = sum_k of u A where u >= 0, A >= 0      Q3[x] = the same where u >= 0, A < 0
 *                      Q2[x] = the same where u < 0, A < 0            Q4[x] = the same where u < 0, A >= 0
 *                      A product that is NaN goes to all four. L[x] = sum_k u A, with the bits of cam_combine (variant
 * 0) and cam_product (1) cam_channel_signs  v -> T, a row per channel: sum of v+ = max(v, 0), sum of v- = min(v, 0)
 * (NaN goes to both); smallest and largest of the finite v (inf and -inf where there are none); number of v that are
 *                      not finite; the first position of the largest finite |v| as two numbers p, r: it is
 *                      p GCAM_SIGNS_SPLIT + r, so that a float holds it exactly
 *
 * Layout, attributes, sums and overlaps as in cam/cam.h (v has the strides of g); Q has 4 positions elements, T has
 * GCAM_SIGNS_COLUMNS channels. With channels and positions exchanged (and their strides), cam_quadrants gives the four
 * sums of each channel. */
#ifndef GCAM_CAM_SIGNS_H
#define GCAM_CAM_SIGNS_H

#include "cam/cam.h"

enum {
    GCAM_SIGNS_COLUMNS = 7,   /* numbers per channel */
    GCAM_SIGNS_SUMS = 5,      /* Q1 to Q4 and L */
    GCAM_SIGNS_TILE = 256,    /* positions at a time where they are adjacent */
    GCAM_SIGNS_SPLIT = 65536, /* positions of cam_channel_signs are split by this */
};

gcam_status gcam_cam_quadrants_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);
gcam_status gcam_cam_channel_signs_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
