/* Weight gradient of ops/conv.h: the matrix product of dy (rows: output channels) with patches (columns: channels and
 * taps) over the positions of all pictures. Positions lie side by side in both, so the lanes of a register are
 * positions and neither is transposed: a tile holds GEMM_ROWS x GCAM_TILE_VECTORS registers, whose lanes are added at
 * the end of a line. A line holds as many positions as fit CONV_LINE_BYTES, of one picture after the other. Each
 * element is the sum over the lines in ascending order, whichever worker computes it. */

#define CONV_LINE ((ptrdiff_t)((CONV_LINE_BYTES + CONV_LINE_SKEW) / sizeof(real_t)))
#define CONV_POSITIONS ((ptrdiff_t)(CONV_LINE_BYTES / sizeof(real_t)))

/* Lines [begin, end) of positions, filled up with zeros to whole registers. */
static ptrdiff_t
GCAM_FN(conv_line_width)(ptrdiff_t begin, ptrdiff_t end)
{
    return (end - begin + VLANES - 1) / VLANES * VLANES;
}

/* dy of output channels [row, row + rows) of a group at positions [begin, end) of all pictures, one line each; lines of
 * zeros up to whole tiles. */
static void
GCAM_FN(conv_grad_lines)(const gcam_conv_geom *g, const real_t *dy, ptrdiff_t group, ptrdiff_t row, ptrdiff_t rows,
                         ptrdiff_t begin, ptrdiff_t end, real_t *lines)
{
    const ptrdiff_t width = GCAM_FN(conv_line_width)(begin, end);
    for (ptrdiff_t r = 0; r < (rows + GEMM_ROWS - 1) / GEMM_ROWS * GEMM_ROWS; r++) {
        real_t *line = lines + r * CONV_LINE;
        ptrdiff_t p = r < rows ? begin : end;
        for (ptrdiff_t next; p < end; p = next) {
            const ptrdiff_t picture = p / g->columns, first = p % g->columns;
            next = g->columns - first < end - p ? p + g->columns - first : end;
            const real_t *source = dy + (picture * g->k + group * g->rows + row + r) * g->columns;
            memcpy(line + (p - begin), source + first, (size_t)(next - p) * sizeof *line);
        }
        const ptrdiff_t filled = r < rows ? end - begin : 0;
        memset(line + filled, 0, (size_t)(width - filled) * sizeof *line);
    }
}

/* The same of patches: columns [column, column + columns) are pairs of channel and tap. */
static void
GCAM_FN(conv_patch_lines)(const gcam_conv_geom *g, const real_t *x, ptrdiff_t group, ptrdiff_t column,
                          ptrdiff_t columns, ptrdiff_t begin, ptrdiff_t end, real_t *lines)
{
    const ptrdiff_t plane = g->in[0] * g->in[1] * g->in[2], taps = g->kernel[0] * g->kernel[1] * g->kernel[2];
    const ptrdiff_t width = GCAM_FN(conv_line_width)(begin, end);
    for (ptrdiff_t j = 0; j < (columns + GCAM_TILE_VECTORS - 1) / GCAM_TILE_VECTORS * GCAM_TILE_VECTORS; j++) {
        const ptrdiff_t channel = (column + j) / taps, tap = (column + j) % taps;
        real_t *line = lines + j * CONV_LINE;
        ptrdiff_t p = j < columns ? begin : end;
        for (ptrdiff_t next; p < end; p = next) {
            const ptrdiff_t picture = p / g->columns, first = p % g->columns;
            next = g->columns - first < end - p ? p + g->columns - first : end;
            const real_t *source = x + (picture * g->c + group * g->source_channels + channel) * plane;
            GCAM_FN(conv_line)(g, source, tap, first, first + next - p, line + (p - begin));
        }
        const ptrdiff_t filled = j < columns ? end - begin : 0;
        memset(line + filled, 0, (size_t)(width - filled) * sizeof *line);
    }
}

GCAM_INLINE real_t
GCAM_FN(conv_lane_sum)(vreal v)
{
    real_t lane[VLANES];
    V(store)(lane, v);
    for (int width = VLANES / 2; width > 0; width /= 2) {
        for (int j = 0; j < width; j++) {
            lane[j] += lane[j + width];
        }
    }
    return lane[0];
}

/* sums[i][j] = line i of a . line j of b; `rows` is a constant once inlined. */
GCAM_INLINE void
GCAM_FN(conv_dots)(const int rows, ptrdiff_t width, const real_t *restrict a, const real_t *restrict b,
                   real_t sums[GEMM_ROWS][GCAM_TILE_VECTORS])
{
    vreal acc[GEMM_ROWS][GCAM_TILE_VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < GCAM_TILE_VECTORS; j++) {
            acc[i][j] = (vreal){0};
        }
    }
    for (ptrdiff_t p = 0; p < width; p += VLANES) {
        vreal column[GCAM_TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < GCAM_TILE_VECTORS; j++) {
            column[j] = V(load)(b + p + j * CONV_LINE);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vreal row = V(load)(a + p + i * CONV_LINE);
#pragma GCC unroll 4
            for (int j = 0; j < GCAM_TILE_VECTORS; j++) {
                acc[i][j] = V(fma)(row, column[j], acc[i][j]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < GCAM_TILE_VECTORS; j++) {
            sums[i][j] = GCAM_FN(conv_lane_sum)(acc[i][j]);
        }
    }
}

/* rows x columns of dw from one line of positions: stored if `first`, else added to what is there. */
static void
GCAM_FN(conv_weight_tile)(const gcam_conv_geom *g, ptrdiff_t width, const real_t *a, const real_t *b, ptrdiff_t rows,
                          ptrdiff_t columns, real_t *dw, int first)
{
    real_t sums[GEMM_ROWS][GCAM_TILE_VECTORS];
    if (rows == 1) {
        GCAM_FN(conv_dots)(1, width, a, b, sums);
    } else {
        GCAM_FN(conv_dots)(GEMM_ROWS, width, a, b, sums);
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t j = 0; j < columns; j++) {
            dw[i * g->depth + j] = first ? sums[i][j] : dw[i * g->depth + j] + sums[i][j];
        }
    }
}

/* Rows [row0, row1) and columns [column0, column1) of the weights of one group. */
static void
GCAM_FN(conv_weight_part)(const gcam_conv_geom *g, const real_t *dy, const real_t *x, real_t *dw, ptrdiff_t group,
                          ptrdiff_t row0, ptrdiff_t row1, ptrdiff_t column0, ptrdiff_t column1, real_t *scratch)
{
    const ptrdiff_t row_step = CONV_GRAD_LINES / GEMM_ROWS * GEMM_ROWS;
    const ptrdiff_t column_step = CONV_PATCH_LINES / GCAM_TILE_VECTORS * GCAM_TILE_VECTORS;
    const ptrdiff_t positions = g->n * g->columns;
    real_t *a = scratch, *b = scratch + CONV_GRAD_LINES * CONV_LINE, *part = dw + group * g->rows * g->depth;
    for (ptrdiff_t begin = 0; begin < positions; begin += CONV_POSITIONS) {
        const ptrdiff_t end = positions - begin < CONV_POSITIONS ? positions : begin + CONV_POSITIONS;
        const ptrdiff_t width = GCAM_FN(conv_line_width)(begin, end);
        for (ptrdiff_t row = row0; row < row1; row += row_step) {
            const ptrdiff_t rows = row1 - row < row_step ? row1 - row : row_step;
            GCAM_FN(conv_grad_lines)(g, dy, group, row, rows, begin, end, a);
            for (ptrdiff_t column = column0; column < column1; column += column_step) {
                const ptrdiff_t columns = column1 - column < column_step ? column1 - column : column_step;
                GCAM_FN(conv_patch_lines)(g, x, group, column, columns, begin, end, b);
                for (ptrdiff_t i = 0; i < rows; i += GEMM_ROWS) {
                    const ptrdiff_t height = rows - i < GEMM_ROWS ? rows - i : GEMM_ROWS;
                    for (ptrdiff_t j = 0; j < columns; j += GCAM_TILE_VECTORS) {
                        const ptrdiff_t breadth = columns - j < GCAM_TILE_VECTORS ? columns - j : GCAM_TILE_VECTORS;
                        GCAM_FN(conv_weight_tile)(g, width, a + i * CONV_LINE, b + j * CONV_LINE, height, breadth,
                                                  part + (row + i) * g->depth + column + j, begin == 0);
                    }
                }
            }
        }
    }
}

/* Workers split the groups where there are many, else the columns or the rows, whichever has more tiles. */
static void
GCAM_FN(conv_weight_grad)(const gcam_conv_geom *g, const real_t *dy, const real_t *x, real_t *dw, void *scratch,
                          int worker, int workers)
{
    const ptrdiff_t row_tiles = (g->rows + GEMM_ROWS - 1) / GEMM_ROWS;
    const ptrdiff_t column_tiles = (g->depth + GCAM_TILE_VECTORS - 1) / GCAM_TILE_VECTORS;
    ptrdiff_t group0 = 0, group1 = g->groups, row0 = 0, row1 = g->rows, column0 = 0, column1 = g->depth;
    if (g->groups >= 4 * workers) {
        gcam_share(g->groups, worker, workers, &group0, &group1);
    } else if (column_tiles >= row_tiles) {
        gcam_share(column_tiles, worker, workers, &column0, &column1);
        column0 *= GCAM_TILE_VECTORS;
        column1 = column1 * GCAM_TILE_VECTORS < g->depth ? column1 * GCAM_TILE_VECTORS : g->depth;
    } else {
        gcam_share(row_tiles, worker, workers, &row0, &row1);
        row0 *= GEMM_ROWS;
        row1 = row1 * GEMM_ROWS < g->rows ? row1 * GEMM_ROWS : g->rows;
    }
    for (ptrdiff_t group = group0; group < group1; group++) {
        for (ptrdiff_t row = row0; row < row1 && g->n == 0; row++) {
            memset(dw + (group * g->rows + row) * g->depth + column0, 0, (size_t)(column1 - column0) * sizeof *dw);
        }
        GCAM_FN(conv_weight_part)(g, dy, x, dw, group, row0, row1, column0, column1, scratch);
    }
}
