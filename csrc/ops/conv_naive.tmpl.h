/* The oracles of ops/conv.h: the formulas as loops. */

/* Sum over the channels and taps of one group that reach position o of output channel k. */
static real_t
GCAM_FN(conv_naive_at)(const gcam_conv_geom *g, const real_t *x, const real_t *w, ptrdiff_t group, const ptrdiff_t *o)
{
    const ptrdiff_t channels = g->c / g->groups, *in = g->in, *kernel = g->kernel;
    real_t sum = 0;
    for (ptrdiff_t c = 0; c < channels; c++) {
        for (ptrdiff_t r0 = 0; r0 < kernel[0]; r0++) {
            for (ptrdiff_t r1 = 0; r1 < kernel[1]; r1++) {
                for (ptrdiff_t r2 = 0; r2 < kernel[2]; r2++) {
                    const ptrdiff_t i0 = o[0] * g->stride[0] + r0 * g->dilation[0] - g->pad_lo[0];
                    const ptrdiff_t i1 = o[1] * g->stride[1] + r1 * g->dilation[1] - g->pad_lo[1];
                    const ptrdiff_t i2 = o[2] * g->stride[2] + r2 * g->dilation[2] - g->pad_lo[2];
                    if (i0 >= 0 && i0 < in[0] && i1 >= 0 && i1 < in[1] && i2 >= 0 && i2 < in[2]) {
                        sum += x[(((group * channels + c) * in[0] + i0) * in[1] + i1) * in[2] + i2]
                               * w[((c * kernel[0] + r0) * kernel[1] + r1) * kernel[2] + r2];
                    }
                }
            }
        }
    }
    return sum;
}

static void
GCAM_FN(conv_output_naive)(const gcam_conv_geom *g, const real_t *x, const real_t *w, const real_t *b, real_t *y,
                           void *scratch, int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t plane = g->in[0] * g->in[1] * g->in[2], out = g->out[0] * g->out[1] * g->out[2];
    const ptrdiff_t filter = g->c / g->groups * g->kernel[0] * g->kernel[1] * g->kernel[2];
    ptrdiff_t begin, end;
    gcam_share(g->n * g->k * out, worker, workers, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i++) {
        const ptrdiff_t n = i / out / g->k, k = i / out % g->k, p = i % out;
        const ptrdiff_t o[3] = {p / (g->out[1] * g->out[2]), p / g->out[2] % g->out[1], p % g->out[2]};
        y[i] = GCAM_FN(conv_naive_at)(g, x + n * g->c * plane, w + k * filter, k / (g->k / g->groups), o)
               + (b == NULL ? 0 : b[k]);
    }
}

/* Scatters each dy to the inputs that it came from; a worker owns whole pictures and groups. */
static void
GCAM_FN(conv_input_grad_naive)(const gcam_conv_geom *g, const real_t *dy, const real_t *w, real_t *dx, void *scratch,
                               int worker, int workers)
{
    (void)scratch;
    const ptrdiff_t *in = g->in, *kernel = g->kernel, channels = g->c / g->groups, filters = g->k / g->groups;
    const ptrdiff_t plane = in[0] * in[1] * in[2], out = g->out[0] * g->out[1] * g->out[2];
    const ptrdiff_t taps = kernel[0] * kernel[1] * kernel[2];
    ptrdiff_t begin, end;
    gcam_share(g->n * g->groups, worker, workers, &begin, &end);
    for (ptrdiff_t item = begin; item < end; item++) {
        real_t *part = dx + item * channels * plane;
        memset(part, 0, (size_t)(channels * plane) * sizeof *part);
        for (ptrdiff_t i = 0; i < filters * out * channels * taps; i++) {
            const ptrdiff_t tap = i % taps, c = i / taps % channels, p = i / taps / channels % out;
            const ptrdiff_t k = i / taps / channels / out;
            const ptrdiff_t i0 = p / (g->out[1] * g->out[2]) * g->stride[0]
                                 + tap / (kernel[1] * kernel[2]) * g->dilation[0] - g->pad_lo[0];
            const ptrdiff_t i1 =
                p / g->out[2] % g->out[1] * g->stride[1] + tap / kernel[2] % kernel[1] * g->dilation[1] - g->pad_lo[1];
            const ptrdiff_t i2 = p % g->out[2] * g->stride[2] + tap % kernel[2] * g->dilation[2] - g->pad_lo[2];
            if (i0 >= 0 && i0 < in[0] && i1 >= 0 && i1 < in[1] && i2 >= 0 && i2 < in[2]) {
                part[((c * in[0] + i0) * in[1] + i1) * in[2] + i2] +=
                    dy[(item * filters + k) * out + p]
                    * w[((item % g->groups * filters + k) * channels + c) * taps + tap];
            }
        }
    }
}
