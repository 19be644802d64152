/* Weight gradient of a convolution of blocked tensors: what ops/conv.h says, for two spatial axes and one group.
 *
 *   blocked_weight_grad  dy, x -> dw, plain (K, C, kernel)
 *
 * The border of x holds whatever the windows reach outside x; that of dy is not read. Nothing may overlap.
 *
 * A tile is some output channels of one block times some vectors of input channels, each of a tap: per pixel a number
 * of dy meets the vector that its window reads, so nothing is gathered, and no lanes are added. Its sums run over a
 * strip of rows in registers; strips are added up in ascending order, a group of strips before the next one, whichever
 * worker has the tile.
 *
 * Attributes: ints x's eight, dy's eight, the window's ten (blocked/window.h). No scratch. */
#ifndef GCAM_BLOCKED_WEIGHT_H
#define GCAM_BLOCKED_WEIGHT_H

#include "blocked/window.h"

/* Pixels of a strip, and of the strips that all tiles of a worker read before the next ones: those of a block of x and
 * of some blocks of dy stay in the second cache. */
#define BLOCKED_WEIGHT_STRIP 1024
#define BLOCKED_WEIGHT_GROUP 2048

typedef struct {
    gcam_blocked x, dy;
    gcam_window window;
    ptrdiff_t taps;
    ptrdiff_t strip_rows; /* rows of dy of a strip */
    ptrdiff_t strips;     /* of a picture */
    ptrdiff_t group;      /* strips of a group, of one picture after the other */
} gcam_blocked_weight_geom;

gcam_status gcam_blocked_weight_grad_init(void *geom, const gcam_attributes *attributes, gcam_operands *operands);

#endif
