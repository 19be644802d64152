/* Kernels of cam/signs.h. Uses cam/cam.tmpl.h and cam/cam_map.tmpl.h. */

/* The product of two numbers for each of the sums: the four quadrants, then all. */
GCAM_INLINE void
GCAM_FN(signs_terms)(gcam_vec_f64 u, gcam_vec_f64 a, gcam_vec_f64 terms[GCAM_SIGNS_SUMS])
{
    const gcam_vec_f64 product = u * a, zero = {0};
    const gcam_mask_f64 opposing = u < zero, below = a < zero, unknown = product != product;
    terms[0] = GCAM_FN(cam_keep)(unknown | (~opposing & ~below), product);
    terms[1] = GCAM_FN(cam_keep)(unknown | (opposing & below), product);
    terms[2] = GCAM_FN(cam_keep)(unknown | (~opposing & below), product);
    terms[3] = GCAM_FN(cam_keep)(unknown | (opposing & ~below), product);
    terms[4] = product;
}

/* Adds `count` channels to the sums of n positions (all lanes if n >= GCAM_LANES_F64): several at a time, so that a sum
 * is not stored and loaded for every term. What lies behind n in a row of sums is not used. */
GCAM_INLINE void
GCAM_FN(signs_add)(int count, ptrdiff_t n, const real_t *restrict u, gcam_cam_strides us, const real_t *restrict a,
                   gcam_cam_strides as, double sums[GCAM_SIGNS_SUMS][GCAM_SIGNS_TILE], ptrdiff_t x)
{
    gcam_vec_f64 sum[GCAM_SIGNS_SUMS], terms[GCAM_SIGNS_SUMS];
    for (int q = 0; q < GCAM_SIGNS_SUMS; q++) {
        sum[q] = gcam_load_f64(&sums[q][x]);
    }
    for (int k = 0; k < count; k++) {
        GCAM_FN(signs_terms)(GCAM_FN(cam_load)(u + k * us.c + x * us.x, us.x, n),
                             GCAM_FN(cam_load)(a + k * as.c + x * as.x, as.x, n), terms);
        for (int q = 0; q < GCAM_SIGNS_SUMS; q++) {
            sum[q] += terms[q];
        }
    }
    for (int q = 0; q < GCAM_SIGNS_SUMS; q++) {
        gcam_store_f64(&sums[q][x], sum[q]);
    }
}

GCAM_INLINE void
GCAM_FN(signs_add_row)(int count, ptrdiff_t n, const real_t *restrict u, gcam_cam_strides us, const real_t *restrict a,
                       gcam_cam_strides as, double sums[GCAM_SIGNS_SUMS][GCAM_SIGNS_TILE])
{
    ptrdiff_t x = 0;
    for (; x + GCAM_LANES_F64 <= n; x += GCAM_LANES_F64) {
        GCAM_FN(signs_add)(count, GCAM_LANES_F64, u, us, a, as, sums, x);
    }
    if (x < n) {
        GCAM_FN(signs_add)(count, n - x, u, us, a, as, sums, x);
    }
}

/* The sums of n <= GCAM_SIGNS_TILE positions. */
GCAM_INLINE void
GCAM_FN(signs_rows)(ptrdiff_t channels, ptrdiff_t n, const real_t *restrict u, gcam_cam_strides us,
                    const real_t *restrict a, gcam_cam_strides as, double sums[GCAM_SIGNS_SUMS][GCAM_SIGNS_TILE])
{
    memset(sums, 0, GCAM_SIGNS_SUMS * sizeof sums[0]);
    ptrdiff_t k = 0;
    for (; k + 4 <= channels; k += 4) {
        GCAM_FN(signs_add_row)(4, n, u + k * us.c, us, a + k * as.c, as, sums);
    }
    for (; k < channels; k++) {
        GCAM_FN(signs_add_row)(1, n, u + k * us.c, us, a + k * as.c, as, sums);
    }
}

/* The same for any strides; not specialised, for these are rare. */
static __attribute__((noinline)) void
GCAM_FN(signs_any)(ptrdiff_t channels, ptrdiff_t n, const real_t *restrict u, gcam_cam_strides us,
                   const real_t *restrict a, gcam_cam_strides as, double sums[GCAM_SIGNS_SUMS][GCAM_SIGNS_TILE])
{
    memset(sums, 0, GCAM_SIGNS_SUMS * sizeof sums[0]);
    for (ptrdiff_t k = 0; k < channels; k++) {
        GCAM_FN(signs_add_row)(1, n, u + k * us.c, us, a + k * as.c, as, sums);
    }
}

/* Adds n channels (as many as lanes, or fewer) of n_rows positions (likewise) where channels are adjacent; squares of
 * numbers are transposed, so that a vector holds one channel of all positions. */
GCAM_INLINE void
GCAM_FN(signs_square)(ptrdiff_t n, ptrdiff_t rows, const real_t *u, ptrdiff_t ux, const real_t *a, ptrdiff_t ax,
                      gcam_vec_f64 sum[GCAM_SIGNS_SUMS])
{
    gcam_vec_f64 us[GCAM_LANES_F64] = {{0}}, as[GCAM_LANES_F64] = {{0}}, terms[GCAM_SIGNS_SUMS];
    for (ptrdiff_t x = 0; x < rows; x++) {
        us[x] = GCAM_FN(cam_load)(u + x * ux, 1, n);
        as[x] = GCAM_FN(cam_load)(a + x * ax, 1, n);
    }
    GCAM_FN(cam_transpose)(us);
    GCAM_FN(cam_transpose)(as);
    for (ptrdiff_t k = 0; k < n; k++) {
        GCAM_FN(signs_terms)(us[k], as[k], terms);
        for (int q = 0; q < GCAM_SIGNS_SUMS; q++) {
            sum[q] += terms[q];
        }
    }
}

/* The sums of n <= GCAM_SIGNS_TILE positions where channels are adjacent; ux = 0 where u is a weight. */
GCAM_INLINE void
GCAM_FN(signs_columns)(ptrdiff_t channels, ptrdiff_t n, const real_t *restrict u, ptrdiff_t ux,
                       const real_t *restrict a, ptrdiff_t ax, double sums[GCAM_SIGNS_SUMS][GCAM_SIGNS_TILE])
{
    enum { W = GCAM_LANES_F64 };
    for (ptrdiff_t x = 0; x < n; x += W) {
        const real_t *u_rows = u + x * ux, *a_rows = a + x * ax;
        const ptrdiff_t rows = n - x < W ? n - x : W;
        gcam_vec_f64 sum[GCAM_SIGNS_SUMS] = {{0}};
        ptrdiff_t k = 0;
        for (; rows == W && k + W <= channels; k += W) {
            GCAM_FN(signs_square)(W, W, u_rows + k, ux, a_rows + k, ax, sum);
        }
        for (; k < channels; k += W) {
            const ptrdiff_t count = channels - k < W ? channels - k : W;
            GCAM_FN(signs_square)(count, rows, u_rows + k, ux, a_rows + k, ax, sum);
        }
        for (int q = 0; q < GCAM_SIGNS_SUMS; q++) {
            gcam_store_f64(&sums[q][x], sum[q]);
        }
    }
}

static void
GCAM_FN(cam_quadrants)(const gcam_cam_geom *g, const real_t *restrict u, const real_t *restrict activation,
                       real_t *restrict quadrants, real_t *restrict map, void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_cam_strides weights = {1, 0}, us = g->variant == 0 ? weights : g->g, as = g->a;
    const ptrdiff_t groups = g->positions / GCAM_CAM_GROUP + (g->positions % GCAM_CAM_GROUP > 0);
    ptrdiff_t begin, end;
    gcam_share(groups, worker, workers, &begin, &end);
    begin *= GCAM_CAM_GROUP;
    end = end == groups ? g->positions : end * GCAM_CAM_GROUP;
    for (ptrdiff_t x = begin; x < end; x += GCAM_SIGNS_TILE) {
        const ptrdiff_t n = end - x < GCAM_SIGNS_TILE ? end - x : GCAM_SIGNS_TILE;
        const real_t *u_rows = u + x * us.x, *a_rows = activation + x * as.x;
        double sums[GCAM_SIGNS_SUMS][GCAM_SIGNS_TILE];
        if (as.x == 1 && us.x == 1) {
            GCAM_FN(signs_rows)
            (g->channels, n, u_rows, (gcam_cam_strides){us.c, 1}, a_rows, (gcam_cam_strides){as.c, 1}, sums);
        } else if (as.x == 1 && us.x == 0) {
            GCAM_FN(signs_rows)
            (g->channels, n, u_rows, (gcam_cam_strides){us.c, 0}, a_rows, (gcam_cam_strides){as.c, 1}, sums);
        } else if (as.c == 1 && us.c == 1) {
            GCAM_FN(signs_columns)(g->channels, n, u_rows, us.x, a_rows, as.x, sums);
        } else {
            GCAM_FN(signs_any)(g->channels, n, u_rows, us, a_rows, as, sums);
        }
        for (int q = 0; q < GCAM_SIGNS_SUMS; q++) {
            real_t *out = q < 4 ? quadrants + q * g->positions + x : map + x;
            for (ptrdiff_t i = 0; i < n; i++) {
                out[i] = (real_t)sums[q][i];
            }
        }
    }
}

/* What cam_channel_signs keeps of one channel in each of GCAM_CAM_LANES places (position x belongs to place
 * x % GCAM_CAM_LANES), or of GCAM_CAM_BLOCK channels in one place each. */
typedef struct {
    double low[GCAM_CAM_BLOCK], high[GCAM_CAM_BLOCK], largest[GCAM_CAM_BLOCK], bad[GCAM_CAM_BLOCK];
    int64_t where[GCAM_CAM_BLOCK];
} GCAM_FN(signs_extremes);

GCAM_INLINE void
GCAM_FN(signs_start)(GCAM_FN(signs_extremes) * e, int places)
{
    for (int i = 0; i < places; i++) {
        e->low[i] = (double)INFINITY;
        e->high[i] = -(double)INFINITY;
        e->largest[i] = -1;
        e->bad[i] = 0;
        e->where[i] = 0;
    }
}

GCAM_INLINE gcam_vec_f64
GCAM_FN(signs_select)(gcam_mask_f64 mask, gcam_vec_f64 yes, gcam_vec_f64 no)
{
    return (gcam_vec_f64)((mask & (gcam_mask_f64)yes) | (~mask & (gcam_mask_f64)no));
}

/* Takes the numbers v at positions x into the places from i on, and adds their parts to two sums. */
GCAM_INLINE void
GCAM_FN(signs_take)(gcam_vec_f64 v, gcam_mask_f64 x, GCAM_FN(signs_extremes) * e, ptrdiff_t i, double *positive,
                    double *negative)
{
    const gcam_vec_f64 zero = {0}, size = GCAM_FN(cam_abs)(v), low = gcam_load_f64(e->low + i),
                       high = gcam_load_f64(e->high + i), largest = gcam_load_f64(e->largest + i);
    const gcam_mask_f64 finite = size < (double)INFINITY, larger = finite & (size > largest);
    gcam_mask_f64 where;
    memcpy(&where, e->where + i, sizeof where);
    where = (larger & x) | (~larger & where);
    memcpy(e->where + i, &where, sizeof where);
    gcam_store_f64(e->low + i, GCAM_FN(signs_select)(finite & (v < low), v, low));
    gcam_store_f64(e->high + i, GCAM_FN(signs_select)(finite & (v > high), v, high));
    gcam_store_f64(e->largest + i, GCAM_FN(signs_select)(larger, size, largest));
    gcam_store_f64(e->bad + i, gcam_load_f64(e->bad + i) + GCAM_FN(cam_keep)(~finite, gcam_set1_f64(1)));
    gcam_store_f64(positive, gcam_load_f64(positive) + GCAM_FN(cam_keep)(~(v < zero), v));
    gcam_store_f64(negative, gcam_load_f64(negative) + GCAM_FN(cam_keep)(~(v >= zero), v));
}

/* The same for one number. */
GCAM_INLINE void
GCAM_FN(signs_take_one)(double v, ptrdiff_t x, GCAM_FN(signs_extremes) * e, ptrdiff_t i, double *positive,
                        double *negative)
{
    if (fabs(v) < (double)INFINITY) {
        e->low[i] = v < e->low[i] ? v : e->low[i];
        e->high[i] = v > e->high[i] ? v : e->high[i];
        e->where[i] = fabs(v) > e->largest[i] ? (int64_t)x : e->where[i];
        e->largest[i] = fabs(v) > e->largest[i] ? fabs(v) : e->largest[i];
    } else {
        e->bad[i] += 1;
    }
    *positive += v < 0 ? 0 : v;
    *negative += v >= 0 ? 0 : v;
}

/* Place j of one channel joins place i. */
GCAM_INLINE void
GCAM_FN(signs_join)(GCAM_FN(signs_extremes) * e, int i, int j)
{
    e->low[i] = e->low[j] < e->low[i] ? e->low[j] : e->low[i];
    e->high[i] = e->high[j] > e->high[i] ? e->high[j] : e->high[i];
    e->bad[i] += e->bad[j];
    if (e->largest[j] > e->largest[i] || (e->largest[j] == e->largest[i] && e->where[j] < e->where[i])) {
        e->largest[i] = e->largest[j];
        e->where[i] = e->where[j];
    }
}

GCAM_INLINE void
GCAM_FN(signs_write)(const GCAM_FN(signs_extremes) * e, ptrdiff_t i, double positive, double negative, real_t *row)
{
    row[0] = (real_t)positive;
    row[1] = (real_t)negative;
    row[2] = (real_t)e->low[i];
    row[3] = (real_t)e->high[i];
    row[4] = (real_t)e->bad[i];
    row[5] = (real_t)(e->where[i] / GCAM_SIGNS_SPLIT);
    row[6] = (real_t)(e->where[i] % GCAM_SIGNS_SPLIT);
}

GCAM_INLINE void
GCAM_FN(signs_channel)(ptrdiff_t positions, const real_t *v, ptrdiff_t stride, real_t *row)
{
    GCAM_FN(signs_extremes) e;
    double positive[GCAM_CAM_LANES] = {0}, negative[GCAM_CAM_LANES] = {0};
    GCAM_FN(signs_start)(&e, GCAM_CAM_LANES);
    ptrdiff_t x = 0;
    for (; x + GCAM_CAM_LANES <= positions; x += GCAM_CAM_LANES) {
        for (ptrdiff_t j = 0; j < GCAM_CAM_LANES; j += GCAM_LANES_F64) {
            gcam_mask_f64 index;
            for (int lane = 0; lane < GCAM_LANES_F64; lane++) {
                index[lane] = (int64_t)(x + j + lane);
            }
            GCAM_FN(signs_take)
            (GCAM_FN(cam_load)(v + (x + j) * stride, stride, GCAM_LANES_F64), index, &e, j, positive + j, negative + j);
        }
    }
    for (ptrdiff_t j = 0; x < positions; x++, j++) {
        GCAM_FN(signs_take_one)((double)v[x * stride], x, &e, j, positive + j, negative + j);
    }
    for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            positive[j] += positive[j + half];
            negative[j] += negative[j + half];
            GCAM_FN(signs_join)(&e, j, j + half);
        }
    }
    GCAM_FN(signs_write)(&e, 0, positive[0], negative[0], row);
}

/* The same for n <= GCAM_CAM_BLOCK adjacent channels side by side. */
GCAM_INLINE void
GCAM_FN(signs_channels)(ptrdiff_t n, ptrdiff_t positions, const real_t *v, ptrdiff_t stride, real_t *rows)
{
    GCAM_FN(signs_extremes) e;
    double positive[GCAM_CAM_LANES][GCAM_CAM_BLOCK] = {{0}}, negative[GCAM_CAM_LANES][GCAM_CAM_BLOCK] = {{0}};
    GCAM_FN(signs_start)(&e, GCAM_CAM_BLOCK);
    for (ptrdiff_t x = 0; x < positions; x++, v += stride) {
        const ptrdiff_t j = x % GCAM_CAM_LANES;
        const gcam_mask_f64 index = (int64_t)x - (gcam_mask_f64){0};
        for (ptrdiff_t c = 0; c < n; c += GCAM_LANES_F64) {
            GCAM_FN(signs_take)(GCAM_FN(cam_load)(v + c, 1, n - c), index, &e, c, &positive[j][c], &negative[j][c]);
        }
    }
    for (int half = GCAM_CAM_LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            for (ptrdiff_t c = 0; c < n; c++) {
                positive[j][c] += positive[j + half][c];
                negative[j][c] += negative[j + half][c];
            }
        }
    }
    for (ptrdiff_t c = 0; c < n; c++) {
        GCAM_FN(signs_write)(&e, c, positive[0][c], negative[0][c], rows + c * GCAM_SIGNS_COLUMNS);
    }
}

static void
GCAM_FN(cam_channel_signs)(const gcam_cam_geom *g, const real_t *restrict v, real_t *restrict table, void *scratch,
                           int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->channels, worker, workers, &begin, &end);
    if (g->g.c == 1 && g->g.x != 1) {
        for (ptrdiff_t k = begin; k < end; k += GCAM_CAM_BLOCK) {
            const ptrdiff_t n = end - k < GCAM_CAM_BLOCK ? end - k : GCAM_CAM_BLOCK;
            GCAM_FN(signs_channels)(n, g->positions, v + k, g->g.x, table + k * GCAM_SIGNS_COLUMNS);
        }
        return;
    }
    for (ptrdiff_t k = begin; k < end; k++) {
        GCAM_FN(signs_channel)(g->positions, v + k * g->g.c, g->g.x, table + k * GCAM_SIGNS_COLUMNS);
    }
}
