/* Kernels of ops/rows.h: the same for both types of real numbers. */

static void
GCAM_FN(rows_number)(const gcam_rows_geom *g, const int64_t *restrict x, const int64_t *restrict base,
                     int64_t *restrict y, void *scratch, int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i++) {
        int64_t row = g->has_base ? base[i] : 0;
        bool known = true;
        for (ptrdiff_t k = 0; k < g->depth && known; k++) {
            const ptrdiff_t position = gcam_rows_position(g, x[i * g->depth + k], k);
            known = position >= 0 && !__builtin_add_overflow(row, (int64_t)position * g->stride[k], &row);
        }
        y[i] = known ? row : INT64_MIN;
    }
}

/* Workers share the batches: each row has one owner. */
static void
GCAM_FN(rows_last)(const gcam_rows_geom *g, const int64_t *restrict x, int64_t *restrict y, void *scratch, int worker,
                   int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->batch, worker, workers, &begin, &end);
    for (ptrdiff_t b = begin; b < end; b++) {
        int64_t *own = y + b * g->size[0];
        for (ptrdiff_t a = 0; a < g->size[0]; a++) {
            own[a] = -1;
        }
        for (ptrdiff_t j = 0; j < g->count; j++) {
            const ptrdiff_t position = gcam_rows_position(g, x[b * g->count + j], 0);
            if (position >= 0) {
                own[position] = j;
            }
        }
    }
}
