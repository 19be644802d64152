/* Kernels of ops/resample.h. */
#ifndef GCAM_RESAMPLE_BLOCK
#define GCAM_RESAMPLE_BLOCK 1024 /* elements of a row that stay in the first cache while its taps are added */
#endif

/* The taps [begin, end) of output j; false if the table does not have them. */
GCAM_INLINE bool
GCAM_FN(resample_taps)(const gcam_resample_geom *g, const int64_t *starts, ptrdiff_t j, ptrdiff_t *begin,
                       ptrdiff_t *end)
{
    if (starts[j] < 0 || starts[j] > starts[j + 1] || starts[j + 1] > (int64_t)g->taps) {
        return false;
    }
    *begin = (ptrdiff_t)starts[j];
    *end = (ptrdiff_t)starts[j + 1];
    return true;
}

GCAM_INLINE bool
GCAM_FN(resample_inside)(const gcam_resample_geom *g, int64_t index)
{
    return index >= 0 && index < (int64_t)g->axis;
}

/* One element of y where the axis is the last one: `line` is that of x. */
GCAM_INLINE real_t
GCAM_FN(resample_element)(const gcam_resample_geom *g, const real_t *restrict line, const int64_t *restrict starts,
                          const int64_t *restrict indices, const real_t *restrict weights, ptrdiff_t j)
{
    ptrdiff_t begin, end;
    if (!GCAM_FN(resample_taps)(g, starts, j, &begin, &end)) {
        return (real_t)NAN;
    }
    real_t sum = 0;
    for (ptrdiff_t t = begin; t < end; t++) {
        const real_t term = GCAM_FN(resample_inside)(g, indices[t]) ? weights[t] * line[indices[t]] : (real_t)NAN;
        sum = t == begin ? term : sum + term;
    }
    return sum;
}

/* One row of y: `plane` is the step of the outer axis in x. */
static void
GCAM_FN(resample_row)(const gcam_resample_geom *g, const real_t *restrict plane, const int64_t *restrict starts,
                      const int64_t *restrict indices, const real_t *restrict weights, ptrdiff_t j, real_t *restrict y)
{
    ptrdiff_t first, end;
    const bool known = GCAM_FN(resample_taps)(g, starts, j, &first, &end);
    if (!known || first == end) {
        for (ptrdiff_t i = 0; i < g->inner; i++) {
            y[i] = known ? 0 : (real_t)NAN;
        }
        return;
    }
    for (ptrdiff_t from = 0; from < g->inner; from += GCAM_RESAMPLE_BLOCK) {
        const ptrdiff_t size = g->inner - from < GCAM_RESAMPLE_BLOCK ? g->inner - from : GCAM_RESAMPLE_BLOCK;
        real_t *restrict to = y + from;
        for (ptrdiff_t t = first; t < end; t++) {
            const bool inside = GCAM_FN(resample_inside)(g, indices[t]);
            const real_t weight = inside ? weights[t] : (real_t)NAN;
            const real_t *restrict row = plane + (inside ? indices[t] : 0) * g->inner + from;
            if (t == first) {
                for (ptrdiff_t i = 0; i < size; i++) {
                    to[i] = weight * row[i];
                }
            } else {
                for (ptrdiff_t i = 0; i < size; i++) {
                    to[i] += weight * row[i];
                }
            }
        }
    }
}

static void
GCAM_FN(resample_output)(const gcam_resample_geom *g, const real_t *restrict x, const int64_t *restrict starts,
                         const int64_t *restrict indices, const real_t *restrict weights, real_t *restrict y,
                         void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->outer * g->count, worker, workers, &begin, &end);
    while (begin < end) {
        const ptrdiff_t o = begin / g->count, from = begin % g->count;
        const ptrdiff_t to = end - o * g->count < g->count ? end - o * g->count : g->count;
        const real_t *plane = x + o * g->axis * g->inner;
        if (g->inner == 1) {
            for (ptrdiff_t j = from; j < to; j++) {
                y[o * g->count + j] = GCAM_FN(resample_element)(g, plane, starts, indices, weights, j);
            }
        } else {
            for (ptrdiff_t j = from; j < to; j++) {
                GCAM_FN(resample_row)(g, plane, starts, indices, weights, j, y + (o * g->count + j) * g->inner);
            }
        }
        begin = o * g->count + to;
    }
}
