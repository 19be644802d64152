/* What kernels with register tiles share: the lanes of one block of a plain vector, and epilogues in registers. */

/* lanes[...] = the numbers of `block` in v (NULL: zeros), zeros in spare lanes. */
static void
GCAM_FN(blocked_lanes)(const real_t *v, ptrdiff_t channels, ptrdiff_t block, real_t lanes[GCAM_BLOCK])
{
    const ptrdiff_t first = block * GCAM_BLOCK, count = v == NULL ? 0 : channels - first;
    for (ptrdiff_t i = 0; i < GCAM_BLOCK; i++) {
        lanes[i] = i < count ? v[first + i] : 0;
    }
}

/* The short activations are worth registers: their bits are those of blocked_finish, which does the others. */
static bool
GCAM_FN(blocked_fits_registers)(const gcam_epilogue *e)
{
    return e->op == -1 || e->op == GCAM_UNARY_RELU || e->op == GCAM_UNARY_CLIP;
}

static bool
GCAM_FN(blocked_is_short)(const gcam_epilogue *e)
{
    return !e->has_residual && GCAM_FN(blocked_fits_registers)(e);
}

/* f(v) for a short epilogue, v itself for the others. */
GCAM_INLINE vreal
GCAM_FN(blocked_short)(ptrdiff_t op, vreal low, vreal high, vreal v)
{
    if (op == GCAM_UNARY_RELU) {
        return V(relu)(v);
    }
    if (op == GCAM_UNARY_CLIP) {
        return V(at_most)(V(at_least)(v, low), high);
    }
    return v;
}
