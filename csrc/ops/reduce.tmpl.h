/* Kernels of ops/reduce.h. Work is cut into items: one step of the kept loops times one tile of the inner axis. */
#ifndef GCAM_REDUCE_TILE
#define GCAM_REDUCE_TILE 64
#define GCAM_REDUCE_LANES 16
#endif

/* `op` is a constant wherever this is inlined. Doubles hold every float, so one accumulator type serves all. */
GCAM_INLINE double
GCAM_FN(reduce_fold)(gcam_reduce_op op, double folded, double value)
{
    switch (op) {
    case GCAM_REDUCE_MAX:
        return value > folded || value != value ? value : folded;
    case GCAM_REDUCE_MIN:
        return value < folded || value != value ? value : folded;
    default:
        return folded + value;
    }
}

GCAM_INLINE double
GCAM_FN(reduce_neutral)(gcam_reduce_op op)
{
    return op == GCAM_REDUCE_MAX ? -(double)INFINITY : op == GCAM_REDUCE_MIN ? (double)INFINITY : 0;
}

/* inner = 1: contiguous runs, element i of a run in lane i % GCAM_REDUCE_LANES. */
GCAM_INLINE double
GCAM_FN(reduce_run)(const gcam_reduce_geom *g, gcam_reduce_op op, const real_t *restrict x)
{
    double lane[GCAM_REDUCE_LANES];
    for (int j = 0; j < GCAM_REDUCE_LANES; j++) {
        lane[j] = GCAM_FN(reduce_neutral)(op);
    }
    for (ptrdiff_t r = 0; r < g->reduced.count; r++) {
        const real_t *run = x + gcam_reduce_offset(&g->reduced, r);
        ptrdiff_t i = 0;
        for (; i + GCAM_REDUCE_LANES <= g->length; i += GCAM_REDUCE_LANES) {
            for (int j = 0; j < GCAM_REDUCE_LANES; j++) {
                lane[j] = GCAM_FN(reduce_fold)(op, lane[j], (double)run[i + j]);
            }
        }
        for (int j = 0; i + j < g->length; j++) {
            lane[j] = GCAM_FN(reduce_fold)(op, lane[j], (double)run[i + j]);
        }
    }
    for (int width = GCAM_REDUCE_LANES / 2; width > 0; width /= 2) {
        for (int j = 0; j < width; j++) {
            lane[j] = GCAM_FN(reduce_fold)(op, lane[j], lane[j + width]);
        }
    }
    return lane[0];
}

/* folded[i] for `n` neighbours on the inner axis. */
GCAM_INLINE void
GCAM_FN(reduce_tile)(const gcam_reduce_geom *g, gcam_reduce_op op, const real_t *restrict x, ptrdiff_t n,
                     double *restrict folded)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        folded[i] = GCAM_FN(reduce_neutral)(op);
    }
    for (ptrdiff_t r = 0; r < g->reduced.count; r++) {
        const real_t *row = x + gcam_reduce_offset(&g->reduced, r);
        for (ptrdiff_t l = 0; l < g->length; l++, row += g->length_stride) {
            for (ptrdiff_t i = 0; i < n; i++) {
                folded[i] = GCAM_FN(reduce_fold)(op, folded[i], (double)row[i]);
            }
        }
    }
}

GCAM_INLINE void
GCAM_FN(reduce_items)(const gcam_reduce_geom *g, gcam_reduce_op op, const real_t *restrict x, real_t *restrict y,
                      ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t tiles = (g->inner - 1) / GCAM_REDUCE_TILE + 1;
    const double divisor = g->op == GCAM_REDUCE_MEAN ? (double)(g->reduced.count * g->length) : 1;
    double folded[GCAM_REDUCE_TILE];
    for (ptrdiff_t item = begin; item < end; item++) {
        const ptrdiff_t k = item / tiles, i = item % tiles * GCAM_REDUCE_TILE;
        const ptrdiff_t n = g->inner - i < GCAM_REDUCE_TILE ? g->inner - i : GCAM_REDUCE_TILE;
        const real_t *from = x + gcam_reduce_offset(&g->kept, k) + i;
        if (g->inner == 1) {
            folded[0] = GCAM_FN(reduce_run)(g, op, from);
        } else {
            GCAM_FN(reduce_tile)(g, op, from, n, folded);
        }
        for (ptrdiff_t j = 0; j < n; j++) {
            y[k * g->inner + i + j] = (real_t)(folded[j] / divisor);
        }
    }
}

static void
GCAM_FN(reduce_output)(const gcam_reduce_geom *g, const real_t *restrict x, real_t *restrict y, void *scratch,
                       int worker, int workers)
{
    (void)scratch;
    ptrdiff_t begin, end;
    gcam_share(g->kept.count * ((g->inner - 1) / GCAM_REDUCE_TILE + 1), worker, workers, &begin, &end);
    switch (g->op) {
    case GCAM_REDUCE_MAX:
        GCAM_FN(reduce_items)(g, GCAM_REDUCE_MAX, x, y, begin, end);
        break;
    case GCAM_REDUCE_MIN:
        GCAM_FN(reduce_items)(g, GCAM_REDUCE_MIN, x, y, begin, end);
        break;
    default:
        GCAM_FN(reduce_items)(g, GCAM_REDUCE_SUM, x, y, begin, end);
    }
}

GCAM_INLINE bool
GCAM_FN(reduce_same)(real_t a, real_t b)
{
    return (a == b) | ((a != a) & (b != b));
}

/* Lines of a block: `length` rows of `n` neighbours, or for inner = 1 one row of `length` neighbours that share one
 * output. Pass 1 counts the extremes, pass 2 gives each its part. */
static void
GCAM_FN(reduce_share_run)(const gcam_reduce_geom *g, const real_t *restrict x, real_t y, real_t dy, real_t *restrict dx)
{
    ptrdiff_t count = 0;
    for (ptrdiff_t r = 0; r < g->reduced.count; r++) {
        const real_t *run = x + gcam_reduce_offset(&g->reduced, r);
        for (ptrdiff_t l = 0; l < g->length; l++) {
            count += GCAM_FN(reduce_same)(run[l], y);
        }
    }
    const real_t part = dy / (real_t)count;
    for (ptrdiff_t r = 0; r < g->reduced.count; r++) {
        const ptrdiff_t offset = gcam_reduce_offset(&g->reduced, r);
        for (ptrdiff_t l = 0; l < g->length; l++) {
            dx[offset + l] = GCAM_FN(reduce_same)(x[offset + l], y) ? part : 0;
        }
    }
}

static void
GCAM_FN(reduce_share_tile)(const gcam_reduce_geom *g, ptrdiff_t n, const real_t *restrict x, const real_t *restrict y,
                           const real_t *restrict dy, real_t *restrict dx)
{
    ptrdiff_t count[GCAM_REDUCE_TILE] = {0};
    real_t part[GCAM_REDUCE_TILE];
    for (ptrdiff_t r = 0; r < g->reduced.count; r++) {
        const real_t *row = x + gcam_reduce_offset(&g->reduced, r);
        for (ptrdiff_t l = 0; l < g->length; l++, row += g->length_stride) {
            for (ptrdiff_t i = 0; i < n; i++) {
                count[i] += GCAM_FN(reduce_same)(row[i], y[i]);
            }
        }
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        part[i] = dy[i] / (real_t)count[i];
    }
    for (ptrdiff_t r = 0; r < g->reduced.count; r++) {
        ptrdiff_t row = gcam_reduce_offset(&g->reduced, r);
        for (ptrdiff_t l = 0; l < g->length; l++, row += g->length_stride) {
            for (ptrdiff_t i = 0; i < n; i++) {
                dx[row + i] = GCAM_FN(reduce_same)(x[row + i], y[i]) ? part[i] : 0;
            }
        }
    }
}

static void
GCAM_FN(reduce_extreme_input_grad)(const gcam_reduce_geom *g, const real_t *restrict x, const real_t *restrict y,
                                   const real_t *restrict dy, real_t *restrict dx, void *scratch, int worker,
                                   int workers)
{
    (void)scratch;
    const ptrdiff_t tiles = (g->inner - 1) / GCAM_REDUCE_TILE + 1;
    ptrdiff_t begin, end;
    gcam_share(g->kept.count * tiles, worker, workers, &begin, &end);
    for (ptrdiff_t item = begin; item < end; item++) {
        const ptrdiff_t k = item / tiles, i = item % tiles * GCAM_REDUCE_TILE, at = k * g->inner + i;
        const ptrdiff_t n = g->inner - i < GCAM_REDUCE_TILE ? g->inner - i : GCAM_REDUCE_TILE;
        const ptrdiff_t from = gcam_reduce_offset(&g->kept, k) + i;
        if (g->inner == 1) {
            GCAM_FN(reduce_share_run)(g, x + from, y[at], dy[at], dx + from);
        } else {
            GCAM_FN(reduce_share_tile)(g, n, x + from, y + at, dy + at, dx + from);
        }
    }
}

static void
GCAM_FN(argmax_output)(const gcam_argmax_geom *g, const real_t *restrict x, int64_t *restrict y, void *scratch,
                       int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t tiles = g->inner / GCAM_REDUCE_TILE + (g->inner % GCAM_REDUCE_TILE != 0);
    ptrdiff_t begin, end;
    gcam_share(g->outer * tiles, worker, workers, &begin, &end);
    for (ptrdiff_t item = begin; item < end; item++) {
        const ptrdiff_t o = item / tiles, i = item % tiles * GCAM_REDUCE_TILE;
        const ptrdiff_t n = g->inner - i < GCAM_REDUCE_TILE ? g->inner - i : GCAM_REDUCE_TILE;
        const real_t *row = x + o * g->axis * g->inner + i;
        int64_t *best = y + o * g->inner + i;
        real_t largest[GCAM_REDUCE_TILE];
        for (ptrdiff_t j = 0; j < n; j++) {
            largest[j] = row[j];
            best[j] = 0;
        }
        for (ptrdiff_t a = 1; a < g->axis; a++) {
            row += g->inner;
            for (ptrdiff_t j = 0; j < n; j++) {
                const bool better = (row[j] > largest[j]) | ((row[j] != row[j]) & (largest[j] == largest[j]));
                best[j] = better ? (int64_t)a : best[j];
                largest[j] = better ? row[j] : largest[j];
            }
        }
    }
}
