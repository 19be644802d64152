/* Kernels of ops/convert.h. */

static void
GCAM_FN(convert_to_real)(const gcam_convert_geom *g, const int64_t *restrict x, real_t *restrict y, void *scratch,
                         int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i++) {
        y[i] = (real_t)x[i];
    }
}

/* The bounds are compared first: a conversion out of range is undefined. */
static void
GCAM_FN(convert_to_index)(const gcam_convert_geom *g, const real_t *restrict x, int64_t *restrict y, void *scratch,
                          int worker, int workers)
{
    (void)scratch;
    const real_t bound = (real_t)9223372036854775808.0; /* 2^63 */
    ptrdiff_t begin, end;
    gcam_share(g->count, worker, workers, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i++) {
        const real_t v = x[i];
        y[i] = v >= bound ? INT64_MAX : v < -bound ? INT64_MIN : v == v ? (int64_t)v : 0;
    }
}
