/* x sigmoid(x) on vectors, for fused epilogues: with fused multiply-add and without selections it takes half the time
 * of what a compiler makes of ops/activation.tmpl.h. The limits at infinity are values, errors are within 4 ulp,
 * subnormal results included; NaN stays NaN. */
#if GCAM_DTYPE_IS_F32

#define SILU_LOG2E 0x1.715476p+0f
#define SILU_LN2_HI 0x1.63p-1f /* few bits: the product with a power of two's exponent is exact */
#define SILU_LN2_LO -0x1.bd0106p-13f
#define SILU_SCALE 64 /* powers of two by which exponentials are carried larger, so that none is subnormal */
#define SILU_ROUND (0x1.8p+23f + SILU_SCALE) /* added and subtracted: rounds to the nearest integer */
#define SILU_LOWEST -120.0f                  /* from here on x exp(x) is 0 */

GCAM_INLINE vreal
GCAM_FN(silu_vector)(vreal x)
{
    typedef uint32_t bits __attribute__((vector_size(GCAM_VEC_BYTES)));
    const vreal negative = (vreal)((bits)x | (bits)V(set1)(-0.0f)); /* -|x| */
    const vreal a = V(at_least)(negative, V(set1)(SILU_LOWEST));
    const vreal shifted = V(fma)(a, V(set1)(SILU_LOG2E), V(set1)(SILU_ROUND));
    const vreal n = V(sub)(shifted, V(set1)(SILU_ROUND));
    const vreal r = V(fma)(n, V(set1)(-SILU_LN2_LO), V(fma)(n, V(set1)(-SILU_LN2_HI), a));
    /* exp(r), a weighted minimax fit on |r| <= ln(2) / 2 */
    vreal p = V(fma)(r, V(set1)(0x1.106252p-7f), V(set1)(0x1.572a66p-5f));
    p = V(fma)(r, p, V(set1)(0x1.5557b0p-3f));
    p = V(fma)(r, p, V(set1)(0x1.fffdfcp-2f));
    p = V(fma)(r, p, V(set1)(1.0f));
    p = V(fma)(r, p, V(set1)(1.0f));
    /* the rounding constant leaves n + SILU_SCALE in the low bits, which alone survive the shift */
    const vreal e = (vreal)((bits)p + ((bits)shifted << 23)), back = V(set1)(0x1p-64f);
    const vreal below = V(mul)(V(mul)(a, e), back) / V(fma)(e, back, V(set1)(1.0f));
    return V(add)(V(relu)(x), below); /* for x > 0: x - x e / (1 + e) */
}
#undef SILU_LOG2E
#undef SILU_LN2_HI
#undef SILU_LN2_LO
#undef SILU_SCALE
#undef SILU_ROUND
#undef SILU_LOWEST

#else

GCAM_INLINE vreal
GCAM_FN(silu_vector)(vreal x)
{
    for (int i = 0; i < VLANES; i++) {
        x[i] = GCAM_FN(silu)(x[i]);
    }
    return x;
}

#endif
