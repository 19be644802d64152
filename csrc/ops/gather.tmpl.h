/* Kernels of ops/gather.h. */

static void
GCAM_FN(gather_output)(const gcam_gather_geom *g, const real_t *restrict x, const int64_t *restrict index,
                       real_t *restrict y, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->outer * g->count, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const int64_t *own = gcam_gather_indices(g, index, r / g->count);
        const ptrdiff_t row = gcam_gather_row(g, own[r % g->count]);
        real_t *to = y + r * g->inner;
        if (row < 0) {
            for (ptrdiff_t i = 0; i < g->inner; i++) {
                to[i] = (real_t)NAN;
            }
        } else {
            memcpy(to, x + (r / g->count * g->axis + row) * g->inner, (size_t)g->inner * sizeof *to);
        }
    }
}

/* Cells [begin, end) of the inner axis for one step of the outer one. */
static void
GCAM_FN(gather_add)(const gcam_gather_geom *g, const real_t *restrict dy, const int64_t *restrict index,
                    real_t *restrict dx, ptrdiff_t begin, ptrdiff_t end)
{
    for (ptrdiff_t a = 0; a < g->axis; a++) {
        memset(dx + a * g->inner + begin, 0, (size_t)(end - begin) * sizeof *dx);
    }
    for (ptrdiff_t j = 0; j < g->count; j++) {
        const ptrdiff_t row = gcam_gather_row(g, index[j]);
        if (row >= 0) {
            for (ptrdiff_t i = begin; i < end; i++) {
                dx[row * g->inner + i] += dy[j * g->inner + i];
            }
        }
    }
}

/* Workers share the (outer, inner) steps, so that each cell of dx has one owner. */
static void
GCAM_FN(gather_input_grad)(const gcam_gather_geom *g, const real_t *restrict dy, const int64_t *restrict index,
                           real_t *restrict dx, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->outer * g->inner, worker, workers, &begin, &end);
    while (begin < end) {
        const ptrdiff_t o = begin / g->inner, from = begin % g->inner;
        const ptrdiff_t to = end - o * g->inner < g->inner ? end - o * g->inner : g->inner;
        const int64_t *own = gcam_gather_indices(g, index, o);
        GCAM_FN(gather_add)(g, dy + o * g->count * g->inner, own, dx + o * g->axis * g->inner, from, to);
        begin = o * g->inner + to;
    }
}
