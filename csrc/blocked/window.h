/* Windows that slide over blocked tensors: convolutions and pools. Axis 0 is height, axis 1 width. */
#ifndef GCAM_BLOCKED_WINDOW_H
#define GCAM_BLOCKED_WINDOW_H

#include "blocked/blocked.h"

typedef struct {
    ptrdiff_t kernel[2], stride[2], pad_lo[2], pad_hi[2], dilation[2];
} gcam_window;

/* Reads ints kernel[2], stride[2], pad_lo[2], pad_hi[2], dilation[2]. */
gcam_status gcam_read_window(gcam_reader *reader, gcam_window *window);

/* That an output of h x w cells is what the windows give over an input of x_h x x_w cells. Afterwards no position that
 * a window reaches overflows. */
gcam_status gcam_check_window(const gcam_window *window, ptrdiff_t x_h, ptrdiff_t x_w, ptrdiff_t h, ptrdiff_t w);

/* That the border of x holds whatever the windows of y reach outside x. */
gcam_status gcam_check_border(const gcam_window *window, const gcam_blocked *x, const gcam_blocked *y);

#endif
