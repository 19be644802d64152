/* The blocked matrix product that convolution and matmul share: C (M x N) = A (M x K) . B (K x N).
 *
 * A lies in row panels of GCAM_TILE_ROWS rows (column by column within a panel), B in column panels of GEMM_COLUMNS
 * columns (row by row), both in depth blocks of at most GEMM_DEPTH. Each element of C is the sum over k in ascending
 * order within a depth block, and the depth blocks are added in ascending order: its bits do not depend on how rows and
 * columns are cut or shared out. */

#define GEMM_ROWS GCAM_TILE_ROWS
#define GEMM_COLUMNS (GCAM_TILE_VECTORS * VLANES)

/* acc = a panel . b panel over `depth`, for the first `rows` rows and `vectors` vectors (both constants once inlined).
 */
GCAM_INLINE void
GCAM_FN(gemm_accumulate)(const int rows, const int vectors, ptrdiff_t depth, const real_t *restrict a,
                         const real_t *restrict b, vreal acc[GEMM_ROWS][GCAM_TILE_VECTORS])
{
    vreal sum[GEMM_ROWS][GCAM_TILE_VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            sum[i][v] = (vreal){0};
        }
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        vreal line[GCAM_TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            line[v] = V(load)(b + v * VLANES);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vreal scalar = V(set1)(a[i]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                sum[i][v] = V(fma)(scalar, line[v], sum[i][v]);
            }
        }
        a += GEMM_ROWS;
        b += GEMM_COLUMNS;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            acc[i][v] = sum[i][v];
        }
    }
}

/* One tile of C: stored with the bias (NULL: none) of each row if `first`, else added to what is there. */
static void
GCAM_FN(gemm_tile)(ptrdiff_t depth, const real_t *a, const real_t *b, real_t *c, ptrdiff_t stride, ptrdiff_t rows,
                   ptrdiff_t columns, const real_t *bias, int first)
{
    vreal acc[GEMM_ROWS][GCAM_TILE_VECTORS];
    const ptrdiff_t vectors = (columns + VLANES - 1) / VLANES;
    if (rows == 1) {
        GCAM_FN(gemm_accumulate)(1, GCAM_TILE_VECTORS, depth, a, b, acc);
    } else if (vectors == GCAM_TILE_VECTORS) {
        GCAM_FN(gemm_accumulate)(GEMM_ROWS, GCAM_TILE_VECTORS, depth, a, b, acc);
    } else if (vectors == 1) {
        GCAM_FN(gemm_accumulate)(GEMM_ROWS, 1, depth, a, b, acc);
    } else {
        GCAM_FN(gemm_accumulate)(GEMM_ROWS, GCAM_TILE_VECTORS > 2 ? 2 : 1, depth, a, b, acc);
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        const vreal shift = V(set1)(first && bias != NULL ? bias[i] : 0);
        real_t *line = c + i * stride;
        for (ptrdiff_t v = 0; v < vectors; v++) {
            real_t *place = line + v * VLANES;
            const ptrdiff_t left = columns - v * VLANES;
            if (left >= VLANES) {
                V(store)(place, V(add)(acc[i][v], first ? shift : V(load)(place)));
            } else {
                V(store_n)(place, V(add)(acc[i][v], first ? shift : V(load_n)(place, left)), left);
            }
        }
    }
}

/* C (rows x columns) from all panels of one depth block. Panel p of a begins at a + p * a_panel, likewise b. */
static void
GCAM_FN(gemm_block)(ptrdiff_t depth, const real_t *a, ptrdiff_t a_panel, ptrdiff_t rows, const real_t *b,
                    ptrdiff_t b_panel, ptrdiff_t columns, real_t *c, ptrdiff_t stride, const real_t *bias, int first)
{
    for (ptrdiff_t block = 0; block < rows; block += GEMM_ROWS * GEMM_PANELS) {
        const ptrdiff_t end = block + GEMM_ROWS * GEMM_PANELS < rows ? block + GEMM_ROWS * GEMM_PANELS : rows;
        for (ptrdiff_t j = 0; j < columns; j += GEMM_COLUMNS) {
            const ptrdiff_t width = columns - j < GEMM_COLUMNS ? columns - j : GEMM_COLUMNS;
            for (ptrdiff_t i = block; i < end; i += GEMM_ROWS) {
                const ptrdiff_t height = rows - i < GEMM_ROWS ? rows - i : GEMM_ROWS;
                GCAM_FN(gemm_tile)(depth, a + i / GEMM_ROWS * a_panel, b + j / GEMM_COLUMNS * b_panel,
                                   c + i * stride + j, stride, height, width, bias == NULL ? NULL : bias + i, first);
            }
        }
    }
}

/* A line of `columns` elements into row k of the column panels at b; the last panel is filled up with zeros. */
static void
GCAM_FN(gemm_pack_line)(const real_t *restrict line, ptrdiff_t columns, ptrdiff_t k, real_t *restrict b,
                        ptrdiff_t b_panel)
{
    real_t *place = b + k * GEMM_COLUMNS;
    ptrdiff_t j = 0;
    for (; j + GEMM_COLUMNS <= columns; j += GEMM_COLUMNS, place += b_panel) {
#pragma GCC unroll 4
        for (int v = 0; v < GCAM_TILE_VECTORS; v++) {
            V(store)(place + v * VLANES, V(load)(line + j + v * VLANES));
        }
    }
    if (j < columns) {
        for (ptrdiff_t i = 0; i < GEMM_COLUMNS; i++) {
            place[i] = j + i < columns ? line[j + i] : 0;
        }
    }
}

/* Rows [0, rows) of a matrix with elements m[i * row_step + k * depth_step] into row panels of `depth` columns. */
static void
GCAM_FN(gemm_pack_rows)(const real_t *restrict m, ptrdiff_t row_step, ptrdiff_t depth_step, ptrdiff_t rows,
                        ptrdiff_t depth, real_t *restrict a)
{
    for (ptrdiff_t i = 0; i < rows; i += GEMM_ROWS) {
        for (ptrdiff_t k = 0; k < depth; k++) {
            for (ptrdiff_t r = 0; r < GEMM_ROWS; r++) {
                *a++ = i + r < rows ? m[(i + r) * row_step + k * depth_step] : 0;
            }
        }
    }
}
