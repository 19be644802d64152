/* Kernels of cam/cam.h that sum over channels: the maps. Uses cam/cam.tmpl.h. */

GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_map_term)(gcam_cam_term what, bool omit_nan, gcam_vec_f64 u, gcam_vec_f64 a)
{
    const gcam_vec_f64 product = (what == GCAM_CAM_RELU_FIRST ? gcam_relu_f64(u) : u) * a;
    const gcam_vec_f64 term = what == GCAM_CAM_RELU_PRODUCT ? gcam_relu_f64(product) : product;
    return omit_nan ? GCAM_FN(cam_keep)(term == term, term) : term;
}

/* sum + the term. The product of doubles made of floats is exact: fused or not, the bits are the same. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_map_sum)(gcam_cam_term what, bool omit_nan, gcam_vec_f64 u, gcam_vec_f64 a, gcam_vec_f64 sum)
{
    if (sizeof(real_t) == sizeof(float) && what != GCAM_CAM_RELU_PRODUCT && !omit_nan) {
        return gcam_fma_f64(what == GCAM_CAM_RELU_FIRST ? gcam_relu_f64(u) : u, a, sum);
    }
    return sum + GCAM_FN(cam_map_term)(what, omit_nan, u, a);
}

/* Adds `count` channels to the sums of n positions: several at a time, so that a sum is not stored and loaded for every
 * term. The last vector ends with the row (if there is a whole one) and repeats some sums in other lanes. Where u is a
 * weight, the rows `ahead` numbers further are fetched: of two arrays the processor has enough in flight. */
GCAM_INLINE void
GCAM_FN(cam_map_add)(gcam_cam_term what, bool omit_nan, int count, ptrdiff_t n, const real_t *restrict u, ptrdiff_t uc,
                     ptrdiff_t ux, const real_t *restrict a, ptrdiff_t ac, ptrdiff_t ax, ptrdiff_t ahead,
                     double *restrict sums)
{
    enum { SIZE = sizeof(real_t), W = GCAM_LANES_F64 };
    gcam_fetch fetch = gcam_fetch_start(a, ahead * SIZE, n * SIZE, ac * SIZE);
    ptrdiff_t x = 0;
    for (; x + W <= n; x += W) {
        if (ux == 0) {
            gcam_fetch_next(&fetch, count * W * SIZE);
        }
        gcam_vec_f64 sum = gcam_load_f64(sums + x);
        for (int k = 0; k < count; k++) {
            sum = GCAM_FN(cam_map_sum)(what, omit_nan, GCAM_FN(cam_load)(u + k * uc + x * ux, ux, W),
                                       GCAM_FN(cam_load)(a + k * ac + x * ax, ax, W), sum);
        }
        gcam_store_f64(sums + x, sum);
    }
    if (x < n) {
        const ptrdiff_t first = n >= W ? n - W : 0;
        gcam_vec_f64 sum = gcam_load_f64(sums + x);
        for (int k = 0; k < count; k++) {
            sum = GCAM_FN(cam_map_sum)(what, omit_nan, GCAM_FN(cam_load)(u + k * uc + first * ux, ux, n - first),
                                       GCAM_FN(cam_load)(a + k * ac + first * ax, ax, n - first), sum);
        }
        gcam_store_f64(sums + x, sum);
    }
}

/* map[x] of n <= GCAM_CAM_TILE positions; where they are adjacent, ux is 1 (or 0: u is a weight) and ax is 1. What is
 * read afterwards begins `next` numbers further. */
GCAM_INLINE void
GCAM_FN(cam_map_rows)(gcam_cam_term what, bool omit_nan, ptrdiff_t channels, ptrdiff_t n, const real_t *restrict u,
                      ptrdiff_t uc, ptrdiff_t ux, const real_t *restrict a, ptrdiff_t ac, ptrdiff_t ax, ptrdiff_t next,
                      real_t *restrict map)
{
    enum { ROWS = 4, W = GCAM_LANES_F64 };
    const ptrdiff_t turns = gcam_fetch_turns(ROWS * n * (ptrdiff_t)sizeof(real_t)), rows = ROWS * turns;
    double sums[GCAM_CAM_TILE] = {0};
    ptrdiff_t k = 0;
    for (; k + ROWS <= channels; k += ROWS) {
        const ptrdiff_t ahead = k + rows < channels ? rows * ac : (rows - channels) * ac + next;
        GCAM_FN(cam_map_add)(what, omit_nan, ROWS, n, u + k * uc, uc, ux, a + k * ac, ac, ax, ahead, sums);
    }
    for (; k < channels; k++) {
        GCAM_FN(cam_map_add)(what, omit_nan, 1, n, u + k * uc, uc, ux, a + k * ac, ac, ax, 0, sums);
    }
    const ptrdiff_t whole = n / W * W, repeated = whole > 0 && whole < n ? W - (n - whole) : 0;
    for (ptrdiff_t x = 0; x < whole; x++) {
        map[x] = (real_t)sums[x];
    }
    for (ptrdiff_t x = whole; x < n; x++) {
        map[x] = (real_t)sums[x + repeated];
    }
}

/* The same for any strides; not specialised, for these are rare. */
static __attribute__((noinline)) void
GCAM_FN(cam_map_any)(gcam_cam_term what, bool omit_nan, ptrdiff_t channels, ptrdiff_t n, const real_t *restrict u,
                     gcam_cam_strides us, const real_t *restrict a, gcam_cam_strides as, real_t *restrict map)
{
    double sums[GCAM_CAM_TILE] = {0};
    for (ptrdiff_t k = 0; k < channels; k++) {
        for (ptrdiff_t x = 0; x < n; x += GCAM_LANES_F64) {
            const gcam_vec_f64 term =
                GCAM_FN(cam_map_term)(what, omit_nan, GCAM_FN(cam_load)(u + k * us.c + x * us.x, us.x, n - x),
                                      GCAM_FN(cam_load)(a + k * as.c + x * as.x, as.x, n - x));
            gcam_store_f64(sums + x, gcam_load_f64(sums + x) + term);
        }
    }
    for (ptrdiff_t x = 0; x < n; x++) {
        map[x] = (real_t)sums[x];
    }
}

/* Adds n channels (as many as lanes, or fewer) to the sums of as many positions as lanes. The square of terms is
 * transposed, so that a vector holds one channel of all positions. */
GCAM_INLINE gcam_vec_f64
GCAM_FN(cam_map_square)(gcam_cam_term what, bool omit_nan, ptrdiff_t n, const real_t *u, ptrdiff_t ux, const real_t *a,
                        ptrdiff_t ax, gcam_vec_f64 sum)
{
    gcam_vec_f64 terms[GCAM_LANES_F64];
    for (ptrdiff_t x = 0; x < GCAM_LANES_F64; x++) {
        terms[x] = GCAM_FN(cam_map_term)(what, omit_nan, GCAM_FN(cam_load)(u + x * ux, 1, n),
                                         GCAM_FN(cam_load)(a + x * ax, 1, n));
    }
    GCAM_FN(cam_transpose)(terms);
    for (int k = 0; k < GCAM_LANES_F64; k++) {
        sum += terms[k];
    }
    return sum;
}

/* map[x] for skip <= x < GCAM_CAM_ABREAST where channels are adjacent. */
GCAM_INLINE void
GCAM_FN(cam_map_columns)(gcam_cam_term what, bool omit_nan, ptrdiff_t channels, ptrdiff_t skip,
                         const real_t *restrict u, ptrdiff_t ux, const real_t *restrict a, ptrdiff_t ax,
                         real_t *restrict map)
{
    enum { W = GCAM_LANES_F64, VECTORS = GCAM_CAM_ABREAST / W };
    /* Of two arrays, a cache line of each row is used up before the next rows: so many rows a power of two apart would
     * drive each other out. Of one, all rows side by side hide the latency of the sums. */
    const ptrdiff_t step = ux == 0 ? W : GCAM_CAM_GROUP;
    gcam_vec_f64 sums[VECTORS] = {{0}};
    for (ptrdiff_t begin = 0; begin < channels; begin += step) {
        for (ptrdiff_t v = 0; v < VECTORS; v++) {
            const real_t *u_rows = u + v * W * ux, *a_rows = a + v * W * ax;
            for (ptrdiff_t k = begin; k < begin + step && k < channels; k += W) {
                sums[v] = k + W <= channels
                              ? GCAM_FN(cam_map_square)(what, omit_nan, W, u_rows + k, ux, a_rows + k, ax, sums[v])
                              : GCAM_FN(cam_map_square)(what, omit_nan, channels - k, u_rows + k, ux, a_rows + k, ax,
                                                        sums[v]);
            }
        }
    }
    for (ptrdiff_t x = skip; x < GCAM_CAM_ABREAST; x++) {
        map[x] = (real_t)sums[x / W][x % W];
    }
}

/* The positions [begin, end). `ux` is the stride us.x of u where positions are adjacent. */
GCAM_INLINE void
GCAM_FN(cam_map_range)(gcam_cam_term what, bool omit_nan, const gcam_cam_geom *g, const real_t *restrict u,
                       gcam_cam_strides us, ptrdiff_t ux, const real_t *restrict a, real_t *restrict map,
                       ptrdiff_t begin, ptrdiff_t end)
{
    const gcam_cam_strides as = g->a;
    if (as.x == 1 && us.x == ux && g->positions > 1) {
        /* Whole rows if they are short; else a tile, what is fetched and the sums fit in the first cache together. */
        const ptrdiff_t tile = end - begin <= GCAM_CAM_TILE ? GCAM_CAM_TILE : GCAM_CAM_TILE / 2;
        for (ptrdiff_t x = begin; x < end; x += tile) {
            const ptrdiff_t n = end - x < tile ? end - x : tile;
            const ptrdiff_t next = x + n < end ? n : g->channels * as.c - x; /* the next tile or picture */
            GCAM_FN(cam_map_rows)(what, omit_nan, g->channels, n, u + x * ux, us.c, ux, a + x, as.c, 1, next, map + x);
        }
    } else if (as.c == 1 && us.c == 1 && g->positions >= GCAM_CAM_ABREAST) {
        for (ptrdiff_t x = begin; x < end; x += GCAM_CAM_ABREAST) {
            /* The last positions come together with some before them. */
            const ptrdiff_t first = x + GCAM_CAM_ABREAST <= end ? x : end - GCAM_CAM_ABREAST;
            GCAM_FN(cam_map_columns)(what, omit_nan, g->channels, x - first, u + first * us.x, us.x, a + first * as.x,
                                     as.x, map + first);
        }
    } else {
        for (ptrdiff_t x = begin; x < end; x += GCAM_CAM_TILE) {
            const ptrdiff_t n = end - x < GCAM_CAM_TILE ? end - x : GCAM_CAM_TILE;
            GCAM_FN(cam_map_any)(what, omit_nan, g->channels, n, u + x * us.x, us, a + x * as.x, as, map + x);
        }
    }
}

/* The share of `worker`. */
GCAM_INLINE void
GCAM_FN(cam_map)(gcam_cam_term what, const gcam_cam_geom *g, const real_t *restrict u, gcam_cam_strides us,
                 ptrdiff_t ux, const real_t *restrict a, real_t *restrict map, int worker, int workers)
{
    const ptrdiff_t groups = g->positions / GCAM_CAM_GROUP + (g->positions % GCAM_CAM_GROUP > 0);
    ptrdiff_t begin, end;
    gcam_share(groups, worker, workers, &begin, &end);
    begin *= GCAM_CAM_GROUP;
    end = end == groups ? g->positions : end * GCAM_CAM_GROUP;
    if (g->omit_nan) {
        GCAM_FN(cam_map_range)(what, true, g, u, us, ux, a, map, begin, end);
    } else {
        GCAM_FN(cam_map_range)(what, false, g, u, us, ux, a, map, begin, end);
    }
}

static void
GCAM_FN(cam_combine)(const gcam_cam_geom *g, const real_t *restrict weights, const real_t *restrict activation,
                     real_t *restrict map, void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_cam_strides strides = {1, 0};
    GCAM_FN(cam_map)(GCAM_CAM_PRODUCT, g, weights, strides, 0, activation, map, worker, workers);
}

static void
GCAM_FN(cam_product)(const gcam_cam_geom *g, const real_t *restrict activation, const real_t *restrict gradient,
                     real_t *restrict map, void *scratch, int worker, int workers)
{
    (void)scratch;
    if (g->variant == 0) {
        GCAM_FN(cam_map)(GCAM_CAM_PRODUCT, g, gradient, g->g, 1, activation, map, worker, workers);
    } else if (g->variant == 1) {
        GCAM_FN(cam_map)(GCAM_CAM_RELU_PRODUCT, g, gradient, g->g, 1, activation, map, worker, workers);
    } else {
        GCAM_FN(cam_map)(GCAM_CAM_RELU_FIRST, g, gradient, g->g, 1, activation, map, worker, workers);
    }
}
