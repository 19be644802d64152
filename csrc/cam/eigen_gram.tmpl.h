/* Kernels of cam/eigen.h from the matrix to its products with itself. Uses cam/eigen.tmpl.h. */

/* --- eigen_pack */

/* Rows [0, n) of one panel are the channels from k on; positions [begin, end). */
GCAM_INLINE void
GCAM_FN(eigen_pack_channels)(ptrdiff_t k, ptrdiff_t n, ptrdiff_t positions, const real_t *restrict matrix,
                             const double *stats, double factor, ptrdiff_t begin, ptrdiff_t end, double *restrict panel)
{
    for (ptrdiff_t j = 0; j < GCAM_EIGEN_PANEL; j++) {
        const real_t *row = matrix + (k + (j < n ? j : 0)) * positions;
        const double offset = j < n ? stats[2 * (k + j)] : 0;
        for (ptrdiff_t x = begin; x < end; x++) {
            panel[x * GCAM_EIGEN_PANEL + j] = j < n ? ((double)row[x] - offset) * factor : 0;
        }
    }
}

/* Rows [0, n) of one panel are the positions from x on; channels [begin, end). */
GCAM_INLINE void
GCAM_FN(eigen_pack_positions)(ptrdiff_t x, ptrdiff_t n, ptrdiff_t positions, const real_t *restrict matrix,
                              const double *stats, double factor, ptrdiff_t begin, ptrdiff_t end,
                              double *restrict panel)
{
    for (ptrdiff_t k = begin; k < end; k++) {
        const real_t *row = matrix + k * positions + x;
        const double offset = stats[2 * k];
        double *place = panel + k * GCAM_EIGEN_PANEL;
        if (n == GCAM_EIGEN_PANEL) {
            for (ptrdiff_t j = 0; j < GCAM_EIGEN_PANEL; j++) {
                place[j] = ((double)row[j] - offset) * factor;
            }
        } else {
            for (ptrdiff_t j = 0; j < GCAM_EIGEN_PANEL; j++) {
                place[j] = j < n ? ((double)row[j] - offset) * factor : 0;
            }
        }
    }
}

static void
GCAM_FN(eigen_pack)(const gcam_eigen_geom *g, const real_t *restrict matrix, const real_t *restrict stats,
                    real_t *restrict panels, void *scratch, int worker, int workers)
{
    (void)scratch;
    const double scale = gcam_eigen_scale(g, GCAM_FN(eigen_in)(stats)), factor = scale > 0 ? 1 / scale : 1;
    const ptrdiff_t chunks = (g->depth + GCAM_EIGEN_CHUNK - 1) / GCAM_EIGEN_CHUNK;
    const ptrdiff_t count = (g->side + GCAM_EIGEN_PANEL - 1) / GCAM_EIGEN_PANEL;
    ptrdiff_t begin, end;
    gcam_share(count * chunks, worker, workers, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i++) {
        const ptrdiff_t first = i / chunks * GCAM_EIGEN_PANEL, from = i % chunks * GCAM_EIGEN_CHUNK;
        const ptrdiff_t to = from + GCAM_EIGEN_CHUNK < g->depth ? from + GCAM_EIGEN_CHUNK : g->depth;
        const ptrdiff_t n = g->side - first < GCAM_EIGEN_PANEL ? g->side - first : GCAM_EIGEN_PANEL;
        double *panel = GCAM_FN(eigen_out)(panels) + first * g->depth;
        if (g->by_channel) {
            GCAM_FN(eigen_pack_channels)(first, n, g->cam.positions, matrix, GCAM_FN(eigen_in)(stats), factor, from, to,
                                         panel);
        } else {
            GCAM_FN(eigen_pack_positions)(first, n, g->cam.positions, matrix, GCAM_FN(eigen_in)(stats), factor, from,
                                          to, panel);
        }
    }
}

/* --- eigen_gram */

#if GCAM_REGISTERS == 32
#define EIGEN_ROWS 8
#define EIGEN_VECTORS 3
#elif GCAM_VEC_BYTES == 32
#define EIGEN_ROWS 4
#define EIGEN_VECTORS 3
#else
#define EIGEN_ROWS 4
#define EIGEN_VECTORS 2
#endif
#define EIGEN_COLUMNS (EIGEN_VECTORS * GCAM_LANES_F64)

/* A register tile of the product of two panels: EIGEN_ROWS x EIGEN_COLUMNS elements into rows of a whole panel. */
GCAM_INLINE void
GCAM_FN(eigen_tile)(ptrdiff_t depth, const double *restrict a, const double *restrict b, double *restrict tile)
{
    gcam_vec_f64 sum[EIGEN_ROWS][EIGEN_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < EIGEN_ROWS; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < EIGEN_VECTORS; v++) {
            sum[i][v] = (gcam_vec_f64){0};
        }
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        gcam_vec_f64 line[EIGEN_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < EIGEN_VECTORS; v++) {
            line[v] = gcam_load_f64(b + v * GCAM_LANES_F64);
        }
#pragma GCC unroll 8
        for (int i = 0; i < EIGEN_ROWS; i++) {
            const gcam_vec_f64 scalar = gcam_set1_f64(a[i]);
#pragma GCC unroll 4
            for (int v = 0; v < EIGEN_VECTORS; v++) {
                sum[i][v] = gcam_fma_f64(scalar, line[v], sum[i][v]);
            }
        }
        a += GCAM_EIGEN_PANEL;
        b += GCAM_EIGEN_PANEL;
    }
#pragma GCC unroll 8
    for (int i = 0; i < EIGEN_ROWS; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < EIGEN_VECTORS; v++) {
            gcam_store_f64(tile + i * GCAM_EIGEN_PANEL + v * GCAM_LANES_F64, sum[i][v]);
        }
    }
}

/* tanh(p / channels + 1) - tanh(1) without cancellation, by the addition theorem. */
GCAM_INLINE double
GCAM_FN(eigen_kernel)(double p, double channels)
{
    const double t = 0.76159415595576488812, s = tanh(p / channels);
    return s * (1 - t * t) / (1 + t * s);
}

/* Adds one depth block to the part of G that two panels give; the last block finishes it. */
GCAM_INLINE void
GCAM_FN(eigen_gram_part)(const gcam_eigen_geom *g, const double *panels, ptrdiff_t i, ptrdiff_t j, ptrdiff_t from,
                         ptrdiff_t depth, double *gram)
{
    const ptrdiff_t side = g->side, skip = from * GCAM_EIGEN_PANEL;
    const ptrdiff_t rows = side - i < GCAM_EIGEN_PANEL ? side - i : GCAM_EIGEN_PANEL;
    const ptrdiff_t columns = side - j < GCAM_EIGEN_PANEL ? side - j : GCAM_EIGEN_PANEL;
    const bool last = from + depth == g->depth;
    double tile[GCAM_EIGEN_PANEL * GCAM_EIGEN_PANEL];
    for (ptrdiff_t c = 0; c < columns; c += EIGEN_COLUMNS) {
        for (ptrdiff_t r = 0; r < rows; r += EIGEN_ROWS) {
            GCAM_FN(eigen_tile)(depth, panels + i * g->depth + skip + r, panels + j * g->depth + skip + c,
                                tile + r * GCAM_EIGEN_PANEL + c);
        }
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        double *line = gram + (i + r) * side + j;
        for (ptrdiff_t c = 0; c < columns; c++) {
            line[c] = from == 0 ? tile[r * GCAM_EIGEN_PANEL + c] : line[c] + tile[r * GCAM_EIGEN_PANEL + c];
        }
        for (ptrdiff_t c = 0; last && g->kernel_pca && c < columns; c++) {
            line[c] = GCAM_FN(eigen_kernel)(line[c], (double)g->cam.channels);
        }
    }
}

static void
GCAM_FN(eigen_gram)(const gcam_eigen_geom *g, const real_t *restrict panels, real_t *restrict gram, void *scratch,
                    int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t count = (g->side + GCAM_EIGEN_PANEL - 1) / GCAM_EIGEN_PANEL;
    ptrdiff_t begin, end;
    gcam_share(count * (count + 1) / 2, worker, workers, &begin, &end);
    ptrdiff_t first_row = 0, skipped = 0; /* pairs (row, column >= row) in order */
    while (first_row < count && skipped + count - first_row <= begin) {
        skipped += count - first_row++;
    }
    for (ptrdiff_t from = 0; from < g->depth; from += GCAM_EIGEN_DEPTH) {
        const ptrdiff_t depth = g->depth - from < GCAM_EIGEN_DEPTH ? g->depth - from : GCAM_EIGEN_DEPTH;
        ptrdiff_t row = first_row, column = first_row + begin - skipped;
        for (ptrdiff_t pair = begin; pair < end; pair++) {
            GCAM_FN(eigen_gram_part)(g, GCAM_FN(eigen_in)(panels), row * GCAM_EIGEN_PANEL, column * GCAM_EIGEN_PANEL,
                                     from, depth, GCAM_FN(eigen_out)(gram));
            if (++column == count) {
                column = ++row;
            }
        }
    }
}

#undef EIGEN_ROWS
#undef EIGEN_VECTORS
#undef EIGEN_COLUMNS
