/* Kernels of ops/sample.h. */

static void
GCAM_FN(sample_output)(const gcam_sample_geom *g, const real_t *restrict x, const int64_t *restrict index,
                       const real_t *restrict w, real_t *restrict y, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->batch * g->outer * g->count, worker, workers, &begin, &end);
    for (ptrdiff_t cell = begin; cell < end; cell++) {
        const ptrdiff_t plane = cell / g->count;
        const ptrdiff_t first = (plane / g->outer * g->count + cell % g->count) * g->taps;
        const real_t *from = x + plane * g->axis;
        real_t sum = 0;
        for (ptrdiff_t t = first; t < first + g->taps; t++) {
            if (index[t] >= 0 && index[t] < g->axis) {
                sum += w[t] * from[index[t]];
            }
        }
        y[cell] = sum;
    }
}

/* Workers share the planes of dx, so that each cell of it has one owner. */
static void
GCAM_FN(sample_input_grad)(const gcam_sample_geom *g, const real_t *restrict dy, const int64_t *restrict index,
                           const real_t *restrict w, real_t *restrict dx, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->batch * g->outer, worker, workers, &begin, &end);
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        real_t *to = dx + plane * g->axis;
        memset(to, 0, (size_t)g->axis * sizeof *to);
        for (ptrdiff_t j = 0; j < g->count; j++) {
            const ptrdiff_t first = (plane / g->outer * g->count + j) * g->taps;
            for (ptrdiff_t t = first; t < first + g->taps; t++) {
                if (index[t] >= 0 && index[t] < g->axis) {
                    to[index[t]] += w[t] * dy[plane * g->count + j];
                }
            }
        }
    }
}

/* Workers share the rows (b, j); for each of them a plane of x is walked after the other. */
static void
GCAM_FN(sample_weight_grad)(const gcam_sample_geom *g, const real_t *restrict x, const int64_t *restrict index,
                            const real_t *restrict dy, real_t *restrict dw, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->batch * g->count, worker, workers, &begin, &end);
    if (begin < end) {
        memset(dw + begin * g->taps, 0, (size_t)((end - begin) * g->taps) * sizeof *dw);
    }
    while (begin < end) {
        const ptrdiff_t b = begin / g->count, stop = (b + 1) * g->count < end ? (b + 1) * g->count : end;
        for (ptrdiff_t o = 0; o < g->outer; o++) {
            const ptrdiff_t plane = b * g->outer + o;
            const real_t *from = x + plane * g->axis;
            for (ptrdiff_t row = begin; row < stop; row++) {
                const real_t seed = dy[plane * g->count + row - b * g->count];
                for (ptrdiff_t t = row * g->taps; t < (row + 1) * g->taps; t++) {
                    if (index[t] >= 0 && index[t] < g->axis) {
                        dw[t] += seed * from[index[t]];
                    }
                }
            }
        }
        begin = stop;
    }
}
