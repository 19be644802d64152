/* Kernels of ops/unary.h on bits. Workers share groups of GCAM_BITS elements: no two write the same byte. */

/* Lanes whose slope is 1; a NaN has it, as in ops/unary.inc. */
GCAM_INLINE
V(mask) GCAM_FN(slope_lanes)(bool clip, vreal x, vreal alpha, vreal beta)
{
    return clip ? ~((x <= alpha) | (x >= beta)) : ~(x <= (vreal){0});
}

/* Bits of `count` <= GCAM_BITS elements. */
GCAM_INLINE uint16_t
GCAM_FN(slope_group)(bool clip, const real_t *x, ptrdiff_t count, vreal alpha, vreal beta)
{
    uint32_t bits = 0;
    for (ptrdiff_t lane = 0; lane < count; lane += VLANES) {
        const bool whole = count - lane >= VLANES;
        const vreal v = whole ? V(load)(x + lane) : V(load_n)(x + lane, count - lane);
        bits |= V(bits)(GCAM_FN(slope_lanes)(clip, v, alpha, beta)) << lane;
    }
    return (uint16_t)(bits & ~(UINT32_MAX << count));
}

/* `clip` is a constant wherever this is inlined. */
GCAM_INLINE void
GCAM_FN(slope_bits)(bool clip, const gcam_unary_geom *g, const real_t *restrict x, uint8_t *restrict bytes, int worker,
                    int workers)
{
    const vreal alpha = V(set1)((real_t)g->alpha), beta = V(set1)((real_t)g->beta);
    const ptrdiff_t whole = g->count / GCAM_BITS, rest = g->count % GCAM_BITS;
    ptrdiff_t begin, end;
    gcam_share(whole + (rest > 0), worker, workers, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i++) {
        const real_t *group = x + i * GCAM_BITS;
        const uint16_t bits = i < whole ? GCAM_FN(slope_group)(clip, group, GCAM_BITS, alpha, beta)
                                        : GCAM_FN(slope_group)(clip, group, rest, alpha, beta);
        bytes[2 * i] = (uint8_t)bits;
        bytes[2 * i + 1] = (uint8_t)(bits >> 8);
    }
}

static void
GCAM_FN(unary_slope_bits)(const gcam_unary_geom *g, const real_t *x, uint8_t *bytes, void *scratch, int worker,
                          int workers)
{
    (void)scratch;
    if (g->op == GCAM_UNARY_CLIP) {
        GCAM_FN(slope_bits)(true, g, x, bytes, worker, workers);
    } else {
        GCAM_FN(slope_bits)(false, g, x, bytes, worker, workers);
    }
}

static void
GCAM_FN(unary_bits_grad)(const gcam_unary_geom *g, const uint8_t *restrict bytes, const real_t *dy, real_t *dx,
                         void *scratch, int worker, int workers)
{
    const ptrdiff_t whole = g->count / GCAM_BITS, rest = g->count % GCAM_BITS;
    ptrdiff_t begin, end;
    gcam_share(whole + (rest > 0), worker, workers, &begin, &end);
    (void)scratch;
    for (ptrdiff_t i = begin; i < end; i++) {
        const uint32_t bits = bytes[2 * i] | (uint32_t)bytes[2 * i + 1] << 8;
        const ptrdiff_t at = i * GCAM_BITS;
        if (i == whole) {
            for (ptrdiff_t j = 0; j < rest; j++) {
                dx[at + j] = bits >> j & 1 ? dy[at + j] : 0;
            }
            return;
        }
        for (ptrdiff_t lane = 0; lane < GCAM_BITS; lane += VLANES) {
            const V(mask) passes = V(from_bits)(bits >> lane);
            V(store)(dx + at + lane, (vreal)(passes & (V(mask))V(load)(dy + at + lane)));
        }
    }
}
