/* Kernels of ops/matmul.h. */

/* Matrix of an operand for product number `index`. */
static ptrdiff_t
GCAM_FN(matmul_matrix)(const gcam_matmul_geom *g, const ptrdiff_t *strides, ptrdiff_t index)
{
    ptrdiff_t matrix = 0;
    for (ptrdiff_t i = g->batch_rank - 1; i >= 0; i--) {
        matrix += index % g->batch[i] * strides[i];
        index /= g->batch[i];
    }
    return matrix;
}

/* y[i][j] for columns [begin, end) of few rows; each row of b (N, K) is read once, in lanes summed in a fixed order. */
static void
GCAM_FN(matmul_dots)(const gcam_matmul_geom *g, const real_t *a, const real_t *b, real_t *y, ptrdiff_t begin,
                     ptrdiff_t end)
{
    const ptrdiff_t a_row = g->trans_a ? 1 : g->k, a_step = g->trans_a ? g->m : 1;
    for (ptrdiff_t j = begin; j < end; j++) {
        const real_t *row = b + j * g->k;
        for (ptrdiff_t i = 0; i < g->m; i++) {
            const real_t *left = a + i * a_row;
            vreal sums[4] = {{0}, {0}, {0}, {0}};
            ptrdiff_t k = 0;
            if (a_step == 1) {
                for (; k + 4 * VLANES <= g->k; k += 4 * VLANES) {
#pragma GCC unroll 4
                    for (int v = 0; v < 4; v++) {
                        sums[v] = V(fma)(V(load)(left + k + v * VLANES), V(load)(row + k + v * VLANES), sums[v]);
                    }
                }
            }
            real_t sum = V(sum)(V(add)(V(add)(sums[0], sums[1]), V(add)(sums[2], sums[3])));
            for (; k < g->k; k++) {
                sum += left[k * a_step] * row[k];
            }
            y[i * g->n + j] = sum;
        }
    }
}

/* Rows of b that are added to y in one pass over it, and bytes of a row that pass at once: as many of y stay close. */
#define MATMUL_TOGETHER 4
#define MATMUL_ROW_BYTES (16 * 1024)

/* y += factors[0] rows[0] + factors[1] rows[1] + ... for `columns` columns; `count` is constant once inlined. */
GCAM_INLINE void
GCAM_FN(matmul_add_rows)(const ptrdiff_t count, const real_t *const *rows, const real_t *factors, real_t *restrict y,
                         ptrdiff_t columns)
{
    vreal factor[MATMUL_TOGETHER];
    for (ptrdiff_t r = 0; r < count; r++) {
        factor[r] = V(set1)(factors[r]);
    }
    ptrdiff_t j = 0;
    for (; j + VLANES <= columns; j += VLANES) {
        vreal sum = V(load)(y + j);
#pragma GCC unroll 4
        for (ptrdiff_t r = 0; r < count; r++) {
            sum = V(fma)(factor[r], V(load)(rows[r] + j), sum);
        }
        V(store)(y + j, sum);
    }
    if (j < columns) {
        vreal sum = V(load_n)(y + j, columns - j);
        for (ptrdiff_t r = 0; r < count; r++) {
            sum = V(fma)(factor[r], V(load_n)(rows[r] + j, columns - j), sum);
        }
        V(store_n)(y + j, sum, columns - j);
    }
}

/* The next rows of b from *k on, at most MATMUL_TOGETHER: those of which `live` says that a factor is not 0. */
static ptrdiff_t
GCAM_FN(matmul_next_rows)(const gcam_matmul_geom *g, const real_t *a, bool live, ptrdiff_t *k, ptrdiff_t *found)
{
    const ptrdiff_t a_row = g->trans_a ? 1 : g->k, a_step = g->trans_a ? g->m : 1;
    ptrdiff_t count = 0;
    for (; *k < g->k && count < MATMUL_TOGETHER; ++*k) {
        bool taken = !live;
        for (ptrdiff_t i = 0; i < g->m && !taken; i++) {
            taken = a[i * a_row + *k * a_step] != 0; /* so is NaN */
        }
        if (taken) {
            found[count++] = *k;
        }
    }
    return count;
}

/* The same for b (K, N): rows of b are added up in ascending order, `live`: those with a factor that is not 0. */
static void
GCAM_FN(matmul_rows)(const gcam_matmul_geom *g, bool live, const real_t *a, const real_t *b, real_t *y, ptrdiff_t begin,
                     ptrdiff_t end)
{
    const ptrdiff_t a_row = g->trans_a ? 1 : g->k, a_step = g->trans_a ? g->m : 1;
    const ptrdiff_t block = MATMUL_ROW_BYTES / (ptrdiff_t)sizeof(real_t);
    for (ptrdiff_t i = 0; i < g->m; i++) {
        memset(y + i * g->n + begin, 0, (size_t)(end - begin) * sizeof *y);
    }
    ptrdiff_t k = 0, found[MATMUL_TOGETHER], count;
    while ((count = GCAM_FN(matmul_next_rows)(g, a, live, &k, found)) > 0) {
        for (ptrdiff_t first = begin; first < end; first += block) {
            const ptrdiff_t columns = end - first < block ? end - first : block;
            for (ptrdiff_t i = 0; i < g->m; i++) {
                const real_t *rows[MATMUL_TOGETHER];
                real_t factors[MATMUL_TOGETHER], *line = y + i * g->n + first;
                for (ptrdiff_t r = 0; r < count; r++) {
                    rows[r] = b + found[r] * g->n + first;
                    factors[r] = a[i * a_row + found[r] * a_step];
                }
                if (count == MATMUL_TOGETHER) {
                    GCAM_FN(matmul_add_rows)(MATMUL_TOGETHER, rows, factors, line, columns);
                } else {
                    for (ptrdiff_t r = 0; r < count; r++) {
                        GCAM_FN(matmul_add_rows)(1, rows + r, factors + r, line, columns);
                    }
                }
            }
        }
    }
}
#undef MATMUL_TOGETHER
#undef MATMUL_ROW_BYTES

/* Columns [begin, end) of depth [first, first + depth) of b as column panels. */
static void
GCAM_FN(matmul_pack_columns)(const gcam_matmul_geom *g, const real_t *b, ptrdiff_t first, ptrdiff_t depth,
                             ptrdiff_t begin, ptrdiff_t end, real_t *place, real_t *line)
{
    for (ptrdiff_t d = 0; d < depth; d++) {
        if (!g->trans_b) {
            GCAM_FN(gemm_pack_line)(b + (first + d) * g->n + begin, end - begin, d, place, g->panel);
            continue;
        }
        for (ptrdiff_t j = begin; j < end; j++) {
            line[j - begin] = b[j * g->k + first + d];
        }
        GCAM_FN(gemm_pack_line)(line, end - begin, d, place, g->panel);
    }
}

/* Rows [row0, row1) and columns [column0, column1) of one product. */
static void
GCAM_FN(matmul_part)(const gcam_matmul_geom *g, const real_t *a, const real_t *b, real_t *y, ptrdiff_t row0,
                     ptrdiff_t row1, ptrdiff_t column0, ptrdiff_t column1, real_t *scratch)
{
    real_t *columns = scratch, *line = columns + g->block_columns / GEMM_COLUMNS * g->panel;
    real_t *rows = line + g->block_columns;
    const ptrdiff_t a_row = g->trans_a ? 1 : g->k, a_step = g->trans_a ? g->m : 1;
    for (ptrdiff_t begin = column0; begin < column1; begin += g->block_columns) {
        const ptrdiff_t end = column1 - begin < g->block_columns ? column1 : begin + g->block_columns;
        for (ptrdiff_t first = 0; first < g->k; first += GEMM_DEPTH) {
            const ptrdiff_t depth = g->k - first < GEMM_DEPTH ? g->k - first : GEMM_DEPTH;
            GCAM_FN(matmul_pack_columns)(g, b, first, depth, begin, end, columns, line);
            for (ptrdiff_t i = row0; i < row1; i += g->block_rows) {
                const ptrdiff_t height = row1 - i < g->block_rows ? row1 - i : g->block_rows;
                GCAM_FN(gemm_pack_rows)(a + i * a_row + first * a_step, a_row, a_step, height, depth, rows);
                GCAM_FN(gemm_block)(depth, rows, GEMM_ROWS * depth, height, columns, g->panel, end - begin,
                                    y + i * g->n + begin, g->n, NULL, first == 0);
            }
        }
    }
}

/* Workers split the products where there are many, else the columns or the rows, whichever has more panels. */
static void
GCAM_FN(matmul_compute)(const gcam_matmul_geom *g, bool live, const real_t *a, const real_t *b, real_t *y,
                        void *scratch, int worker, int workers)
{
    ptrdiff_t product0 = 0, product1 = g->products, row0 = 0, row1 = g->m, column0 = 0, column1 = g->n;
    const int skinny = g->m <= MATMUL_SKINNY;
    const ptrdiff_t row_panels = (g->m + GEMM_ROWS - 1) / GEMM_ROWS;
    const ptrdiff_t column_panels = (g->n + GEMM_COLUMNS - 1) / GEMM_COLUMNS;
    if (g->products >= 4 * workers) {
        gcam_share(g->products, worker, workers, &product0, &product1);
    } else if (skinny || column_panels >= row_panels) {
        gcam_share(column_panels, worker, workers, &column0, &column1);
        column0 = column0 * GEMM_COLUMNS;
        column1 = column1 * GEMM_COLUMNS < g->n ? column1 * GEMM_COLUMNS : g->n;
    } else {
        gcam_share(row_panels, worker, workers, &row0, &row1);
        row0 = row0 * GEMM_ROWS;
        row1 = row1 * GEMM_ROWS < g->m ? row1 * GEMM_ROWS : g->m;
    }
    if (row0 >= row1 || column0 >= column1) {
        return;
    }
    for (ptrdiff_t p = product0; p < product1; p++) {
        const real_t *left = a + GCAM_FN(matmul_matrix)(g, g->a_strides, p) * g->m * g->k;
        const real_t *right = b + GCAM_FN(matmul_matrix)(g, g->b_strides, p) * g->k * g->n;
        real_t *result = y + p * g->m * g->n;
        if (skinny && g->trans_b) {
            GCAM_FN(matmul_dots)(g, left, right, result, column0, column1);
        } else if (skinny || g->k == 0) {
            GCAM_FN(matmul_rows)(g, live, left, right, result, column0, column1);
        } else {
            GCAM_FN(matmul_part)(g, left, right, result, row0, row1, column0, column1, scratch);
        }
    }
}

static void
GCAM_FN(matmul_output)(const gcam_matmul_geom *g, const real_t *a, const real_t *b, real_t *y, void *scratch,
                       int worker, int workers)
{
    GCAM_FN(matmul_compute)(g, false, a, b, y, scratch, worker, workers);
}

static void
GCAM_FN(matmul_live_output)(const gcam_matmul_geom *g, const real_t *a, const real_t *b, real_t *y, void *scratch,
                            int worker, int workers)
{
    GCAM_FN(matmul_compute)(g, true, a, b, y, scratch, worker, workers);
}
