/* Kernels of ops/taps.h. */

/* sums[r] += the row's outputs whose tap r of the last axis lies inside the input; many taps have the same outputs. */
static void
GCAM_FN(tap_add_row)(const gcam_conv_geom *g, const real_t *restrict row, double *restrict sums)
{
    ptrdiff_t first = 0, end = 0;
    double sum = 0;
    for (ptrdiff_t tap = 0; tap < g->kernel[2]; tap++) {
        const ptrdiff_t old_first = first, old_end = end;
        gcam_conv_tap_outputs(g, 2, tap, &first, &end);
        if (tap == 0 || first != old_first || end != old_end) {
            gcam_vec_f64 part = {0};
            ptrdiff_t o = first;
            for (; o + GCAM_LANES_F64 <= end; o += GCAM_LANES_F64) {
                part = gcam_add_f64(part, V(widen)(row + o));
            }
            sum = gcam_sum_f64(part);
            for (; o < end; o++) {
                sum += (double)row[o];
            }
        }
        sums[tap] += sum;
    }
}

/* Workers share the channels of all pictures. */
static void
GCAM_FN(tap_sums)(const gcam_taps_geom *geom, const real_t *restrict dy, real_t *restrict t, void *scratch, int worker,
                  int workers)
{
    const gcam_conv_geom *g = &geom->conv;
    double *sums = scratch;
    ptrdiff_t begin, end;
    gcam_share(g->n * g->k, worker, workers, &begin, &end);
    for (ptrdiff_t plane = begin; plane < end; plane++) {
        memset(sums, 0, (size_t)geom->taps * sizeof *sums);
        for (ptrdiff_t lead = 0; lead < g->kernel[0] * g->kernel[1]; lead++) {
            ptrdiff_t d_first, d_end, h_first, h_end;
            gcam_conv_tap_outputs(g, 0, lead / g->kernel[1], &d_first, &d_end);
            gcam_conv_tap_outputs(g, 1, lead % g->kernel[1], &h_first, &h_end);
            for (ptrdiff_t d = d_first; d < d_end; d++) {
                for (ptrdiff_t h = h_first; h < h_end; h++) {
                    GCAM_FN(tap_add_row)(g, dy + ((plane * g->out[0] + d) * g->out[1] + h) * g->out[2],
                                         sums + lead * g->kernel[2]);
                }
            }
        }
        for (ptrdiff_t r = 0; r < geom->taps; r++) {
            t[plane * geom->taps + r] = (real_t)sums[r];
        }
    }
}

/* pattern[...] = the sums of one output channel, over and over, as they meet the weights in vectors. */
static void
GCAM_FN(tap_pattern)(const real_t *restrict t, ptrdiff_t taps, double *restrict pattern)
{
    for (ptrdiff_t i = 0, r = 0; i < taps * GCAM_LANES_F64; i++) {
        pattern[i] = (double)t[r];
        r = r + 1 < taps ? r + 1 : 0;
    }
}

/* sums += patterns times the weights of `count` (constant once inlined) output channels, `length` numbers of each. */
GCAM_INLINE void
GCAM_FN(tap_add_channels)(const ptrdiff_t count, const real_t *restrict w, ptrdiff_t step, ptrdiff_t length,
                          const double *restrict patterns, ptrdiff_t taps, double *restrict sums)
{
    const ptrdiff_t period = taps * GCAM_LANES_F64;
    for (ptrdiff_t j = 0, at = 0; j < length; j += GCAM_LANES_F64) {
        gcam_vec_f64 sum = gcam_load_f64(sums + j);
#pragma GCC unroll 4
        for (ptrdiff_t i = 0; i < count; i++) {
            const real_t *from = w + i * step + j;
            real_t last[GCAM_LANES_F64] = {0};
            if (length - j < GCAM_LANES_F64) {
                memcpy(last, from, (size_t)(length - j) * sizeof *last);
                from = last;
            }
            sum = gcam_fma_f64(V(widen)(from), gcam_load_f64(patterns + i * period + at), sum);
        }
        gcam_store_f64(sums + j, sum);
        at = at + GCAM_LANES_F64 < period ? at + GCAM_LANES_F64 : 0;
    }
}

/* Channels [begin, end) of one group of one picture; t and w at its first output channel, y at its first channel. */
static void
GCAM_FN(tap_channels)(const gcam_taps_geom *geom, const real_t *restrict t, const real_t *restrict w,
                      real_t *restrict y, ptrdiff_t begin, ptrdiff_t end, double *restrict scratch)
{
    const gcam_conv_geom *g = &geom->conv;
    const ptrdiff_t taps = geom->taps, outputs = g->k / g->groups, step = g->c / g->groups * taps;
    double *patterns = scratch + geom->sums;
    for (ptrdiff_t c = begin; c < end; c += geom->block) {
        const ptrdiff_t count = end - c < geom->block ? end - c : geom->block;
        memset(scratch, 0, (size_t)geom->sums * sizeof *scratch);
        for (ptrdiff_t k = 0; k < outputs; k += TAPS_TOGETHER) {
            const ptrdiff_t together = outputs - k < TAPS_TOGETHER ? outputs - k : TAPS_TOGETHER;
            for (ptrdiff_t i = 0; i < together; i++) {
                GCAM_FN(tap_pattern)(t + (k + i) * taps, taps, patterns + i * taps * GCAM_LANES_F64);
            }
            const real_t *from = w + k * step + c * taps;
            if (together == TAPS_TOGETHER) {
                GCAM_FN(tap_add_channels)(TAPS_TOGETHER, from, step, count * taps, patterns, taps, scratch);
                continue;
            }
            for (ptrdiff_t i = 0; i < together; i++) {
                GCAM_FN(tap_add_channels)
                (1, from + i * step, step, count * taps, patterns + i * taps * GCAM_LANES_F64, taps, scratch);
            }
        }
        for (ptrdiff_t i = 0; i < count; i++) {
            double sum = 0;
            for (ptrdiff_t r = 0; r < taps; r++) {
                sum += scratch[i * taps + r];
            }
            y[c + i] = (real_t)(sum / geom->divisor);
        }
    }
}

/* Workers share the channels of all pictures. */
static void
GCAM_FN(tap_product)(const gcam_taps_geom *geom, const real_t *restrict t, const real_t *restrict w, real_t *restrict y,
                     void *scratch, int worker, int workers)
{
    const gcam_conv_geom *g = &geom->conv;
    const ptrdiff_t inputs = g->c / g->groups, outputs = g->k / g->groups;
    ptrdiff_t begin, end;
    gcam_share(g->n * g->c, worker, workers, &begin, &end);
    while (begin < end) {
        const ptrdiff_t part = begin / inputs, first = begin % inputs; /* of the groups of all pictures */
        const ptrdiff_t count = end - begin < inputs - first ? end - begin : inputs - first;
        GCAM_FN(tap_channels)(geom, t + part * outputs * geom->taps,
                              w + part % g->groups * outputs * inputs * geom->taps, y + part * inputs, first,
                              first + count, scratch);
        begin += count;
    }
}
