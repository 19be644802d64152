/* Kernels of blocked/reorder.h: squares of 4 x 4 numbers (2 x 2 doubles), which 16-byte vectors transpose on every
 * level; wider ones would need a shuffle per ISA and are not faster than memory is. */
#define SQUARE ((int)(16 / sizeof(real_t)))

typedef real_t GCAM_FN(square_row) __attribute__((vector_size(16)));

/* y[j * y_step + i] = x[i * x_step + j] for i, j < SQUARE. */
GCAM_INLINE void
GCAM_FN(transpose_square)(const real_t *restrict x, ptrdiff_t x_step, real_t *restrict y, ptrdiff_t y_step)
{
    GCAM_FN(square_row) in[SQUARE], out[SQUARE];
    for (int i = 0; i < SQUARE; i++) {
        memcpy(&in[i], x + i * x_step, sizeof in[i]);
    }
#if GCAM_DTYPE_IS_F32
    typedef GCAM_FN(square_row) row;
    const row a = in[0], b = in[1], c = in[2], d = in[3];
    const row ab = {a[0], b[0], a[1], b[1]}, cd = {c[0], d[0], c[1], d[1]};
    const row ef = {a[2], b[2], a[3], b[3]}, gh = {c[2], d[2], c[3], d[3]};
    out[0] = (row){ab[0], ab[1], cd[0], cd[1]};
    out[1] = (row){ab[2], ab[3], cd[2], cd[3]};
    out[2] = (row){ef[0], ef[1], gh[0], gh[1]};
    out[3] = (row){ef[2], ef[3], gh[2], gh[3]};
#else
    out[0] = (GCAM_FN(square_row)){in[0][0], in[1][0]};
    out[1] = (GCAM_FN(square_row)){in[0][1], in[1][1]};
#endif
    for (int i = 0; i < SQUARE; i++) {
        memcpy(y + i * y_step, &out[i], sizeof out[i]);
    }
}

/* One row of a block: `lanes` channels, `plane` elements apart, of `w` pixels; spare lanes become 0. */
static void
GCAM_FN(blocked_row_from_plain)(const real_t *restrict x, ptrdiff_t plane, ptrdiff_t lanes, ptrdiff_t w,
                                real_t *restrict y)
{
    const ptrdiff_t squares = w / SQUARE * SQUARE, full = lanes / SQUARE * SQUARE;
    for (ptrdiff_t j = 0; j < squares; j += SQUARE) {
        for (ptrdiff_t lane = 0; lane < full; lane += SQUARE) {
            GCAM_FN(transpose_square)(x + lane * plane + j, plane, y + j * GCAM_BLOCK + lane, GCAM_BLOCK);
        }
        for (ptrdiff_t i = j; i < j + SQUARE; i++) {
            for (ptrdiff_t lane = full; lane < GCAM_BLOCK; lane++) {
                y[i * GCAM_BLOCK + lane] = lane < lanes ? x[lane * plane + i] : 0;
            }
        }
    }
    for (ptrdiff_t i = squares; i < w; i++) {
        for (ptrdiff_t lane = 0; lane < GCAM_BLOCK; lane++) {
            y[i * GCAM_BLOCK + lane] = lane < lanes ? x[lane * plane + i] : 0;
        }
    }
}

/* The other way round; spare lanes are dropped. */
static void
GCAM_FN(blocked_row_to_plain)(const real_t *restrict x, ptrdiff_t lanes, ptrdiff_t w, real_t *restrict y,
                              ptrdiff_t plane)
{
    const ptrdiff_t squares = w / SQUARE * SQUARE, full = lanes / SQUARE * SQUARE;
    for (ptrdiff_t j = 0; j < squares; j += SQUARE) {
        for (ptrdiff_t lane = 0; lane < full; lane += SQUARE) {
            GCAM_FN(transpose_square)(x + j * GCAM_BLOCK + lane, GCAM_BLOCK, y + lane * plane + j, plane);
        }
    }
    for (ptrdiff_t lane = 0; lane < lanes; lane++) {
        for (ptrdiff_t i = lane < full ? squares : 0; i < w; i++) {
            y[lane * plane + i] = x[i * GCAM_BLOCK + lane];
        }
    }
}
#undef SQUARE

/* Workers share the rows of all blocks. */
static void
GCAM_FN(blocked_from_plain)(const gcam_blocked_reorder_geom *g, const real_t *restrict x, real_t *restrict y,
                            void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_blocked *t = &g->tensor;
    ptrdiff_t begin, end;
    gcam_share(t->n * t->blocks, worker, workers, &begin, &end);
    GCAM_FN(blocked_border)(t, y, begin, end);
    gcam_share(t->n * t->blocks * t->h, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t block = r / t->h, i = r % t->h, channel = block % t->blocks * GCAM_BLOCK;
        const real_t *x_row = x + ((block / t->blocks * t->c + channel) * t->h + i) * t->w;
        const ptrdiff_t lanes = t->c - channel < GCAM_BLOCK ? t->c - channel : GCAM_BLOCK;
        real_t *y_row = y + block * t->plane + t->origin + i * t->row;
        GCAM_FN(blocked_row_from_plain)(x_row, t->h * t->w, lanes, t->w, y_row);
    }
}

/* Workers share the rows of all blocks. */
static void
GCAM_FN(blocked_to_plain)(const gcam_blocked_reorder_geom *g, const real_t *restrict x, real_t *restrict y,
                          void *scratch, int worker, int workers)
{
    (void)scratch;
    const gcam_blocked *t = &g->tensor;
    ptrdiff_t begin, end;
    gcam_share(t->n * t->blocks * t->h, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t block = r / t->h, i = r % t->h, channel = block % t->blocks * GCAM_BLOCK;
        const real_t *x_row = x + block * t->plane + t->origin + i * t->row;
        const ptrdiff_t lanes = t->c - channel < GCAM_BLOCK ? t->c - channel : GCAM_BLOCK;
        real_t *y_row = y + ((block / t->blocks * t->c + channel) * t->h + i) * t->w;
        GCAM_FN(blocked_row_to_plain)(x_row, lanes, t->w, y_row, t->h * t->w);
    }
}

/* Workers share the rows of the blocks that are copied. */
static void
GCAM_FN(blocked_copy)(const gcam_blocked_copy_geom *g, const real_t *restrict x, real_t *restrict y, void *scratch,
                      int worker, int workers)
{
    (void)scratch;
    const gcam_blocked *in = &g->in, *out = &g->out;
    ptrdiff_t begin, end;
    gcam_share(in->n * in->blocks, worker, workers, &begin, &end);
    for (ptrdiff_t block = begin; block < end; block++) {
        const ptrdiff_t to = block / in->blocks * out->blocks + g->to_block + block % in->blocks;
        GCAM_FN(blocked_border)(out, y, to, to + 1);
    }
    gcam_share(in->n * in->blocks * in->h, worker, workers, &begin, &end);
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t block = r / in->h, i = r % in->h;
        const ptrdiff_t to = block / in->blocks * out->blocks + g->to_block + block % in->blocks;
        memcpy(y + to * out->plane + out->origin + i * out->row, x + block * in->plane + in->origin + i * in->row,
               (size_t)(in->w * GCAM_BLOCK) * sizeof *y);
    }
}
