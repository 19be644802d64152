/* Kernels of ops/layout.h. */
#ifndef GCAM_LAYOUT_TILE
#define GCAM_LAYOUT_TILE 16  /* elements of x that are neighbours in a tile */
#define GCAM_LAYOUT_STRIP 16 /* tiles that a worker takes at once */
#endif

static void
GCAM_FN(layout_fill)(real_t *y, ptrdiff_t begin, ptrdiff_t end, real_t value)
{
    for (ptrdiff_t i = begin; i < end; i++) {
        y[i] = value;
    }
}

static void
GCAM_FN(layout_copy_line)(const real_t *restrict x, ptrdiff_t x_stride, real_t *restrict y, ptrdiff_t y_stride,
                          ptrdiff_t count)
{
    if (y_stride == 1 && x_stride == 1) {
        memcpy(y, x, (size_t)count * sizeof *y);
    } else if (y_stride == 1 && x_stride == 0) {
        GCAM_FN(layout_fill)(y, 0, count, *x);
    } else {
        for (ptrdiff_t i = 0; i < count; i++) {
            y[i * y_stride] = x[i * x_stride];
        }
    }
}

/* Workers share the elements of the region in the order of y. With `fill`, a worker also owns the gap before each of
 * its elements except its first, whose gap belongs to the worker before; the ends of y belong to the first and the
 * last. */
static void
GCAM_FN(layout_copy_rows)(const gcam_layout_geom *g, bool fill, const real_t *restrict x, real_t *restrict y,
                          int worker, int workers)
{
    const int last = g->rank - 1;
    const ptrdiff_t inner = g->size[last], x_stride = g->x_stride[last], y_stride = g->y_stride[last];
    const real_t value = (real_t)g->value;
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    if (begin == end) {
        return;
    }
    gcam_layout_walk walk = gcam_layout_walk_start(g, begin / inner);
    ptrdiff_t from = begin % inner, filled = begin == 0 ? 0 : walk.y + from * y_stride;
    for (ptrdiff_t left = end - begin; left > 0; from = 0, gcam_layout_walk_next(g, &walk)) {
        const ptrdiff_t count = left < inner - from ? left : inner - from;
        const ptrdiff_t first = walk.y + from * y_stride, after = first + (count - 1) * y_stride + 1;
        if (fill) {
            GCAM_FN(layout_fill)(y, filled, y_stride == 1 ? first : after, value);
            filled = after;
        }
        GCAM_FN(layout_copy_line)(x + walk.x + from * x_stride, x_stride, y + first, y_stride, count);
        left -= count;
    }
    if (fill) {
        ptrdiff_t next = g->y_count;
        if (end < g->count) {
            next = gcam_layout_walk_start(g, end / inner).y + end % inner * y_stride;
        }
        GCAM_FN(layout_fill)(y, filled, next, value);
    }
}

/* One strip: up to GCAM_LAYOUT_TILE neighbours of x times a piece of the last axis, tile by tile, so that the lines of
 * x stay in the first cache until all of their elements are used. */
static void
GCAM_FN(layout_copy_strip)(const gcam_layout_geom *g, const real_t *restrict x, real_t *restrict y, ptrdiff_t height,
                           ptrdiff_t width)
{
    const ptrdiff_t x_stride = g->x_stride[g->rank - 1], y_stride = g->y_stride[g->rank - 1];
    const ptrdiff_t y_across = g->y_stride[g->across];
    for (ptrdiff_t begin = 0; begin < width; begin += GCAM_LAYOUT_TILE) {
        const ptrdiff_t end = width - begin < GCAM_LAYOUT_TILE ? width : begin + GCAM_LAYOUT_TILE;
        for (ptrdiff_t a = 0; a < height; a++) {
            for (ptrdiff_t i = begin; i < end; i++) {
                y[a * y_across + i * y_stride] = x[a + i * x_stride];
            }
        }
    }
}

/* Workers share the strips. */
static void
GCAM_FN(layout_copy_across)(const gcam_layout_geom *g, const real_t *restrict x, real_t *restrict y, int worker,
                            int workers)
{
    const int last = g->rank - 1, across = g->across;
    const ptrdiff_t height = g->size[across], width = g->size[last], piece = GCAM_LAYOUT_TILE * GCAM_LAYOUT_STRIP;
    const ptrdiff_t bands = (height - 1) / GCAM_LAYOUT_TILE + 1, pieces = (width - 1) / piece + 1;
    ptrdiff_t begin, end;
    gcam_share(g->count / height / width * bands * pieces, worker, workers, &begin, &end);
    for (ptrdiff_t strip = begin; strip < end; strip++) {
        const ptrdiff_t i = strip % pieces * piece, h = strip / pieces % bands * GCAM_LAYOUT_TILE;
        ptrdiff_t x_at = g->x_offset + h + i * g->x_stride[last];
        ptrdiff_t y_at = g->y_offset + h * g->y_stride[across] + i * g->y_stride[last];
        ptrdiff_t rest = strip / pieces / bands;
        for (int a = last - 1; a >= 0; a--) {
            if (a != across) {
                x_at += rest % g->size[a] * g->x_stride[a];
                y_at += rest % g->size[a] * g->y_stride[a];
                rest /= g->size[a];
            }
        }
        GCAM_FN(layout_copy_strip)(g, x + x_at, y + y_at, height - h < GCAM_LAYOUT_TILE ? height - h : GCAM_LAYOUT_TILE,
                                   width - i < piece ? width - i : piece);
    }
}

static void
GCAM_FN(copy_output)(const gcam_layout_geom *g, const real_t *restrict x, real_t *restrict y, void *scratch, int worker,
                     int workers)
{
    (void)scratch;
    if (g->count == 0) {
        return;
    }
    if (g->across >= 0) {
        GCAM_FN(layout_copy_across)(g, x, y, worker, workers);
    } else {
        GCAM_FN(layout_copy_rows)(g, false, x, y, worker, workers);
    }
}

static void
GCAM_FN(pad_output)(const gcam_layout_geom *g, const real_t *restrict x, real_t *restrict y, void *scratch, int worker,
                    int workers)
{
    (void)scratch;
    if (g->count == 0) {
        ptrdiff_t begin, end;
        gcam_share(g->y_count, worker, workers, &begin, &end);
        GCAM_FN(layout_fill)(y, begin, end, (real_t)g->value);
    } else {
        GCAM_FN(layout_copy_rows)(g, true, x, y, worker, workers);
    }
}
