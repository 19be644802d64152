/* Special functions for elementwise kernels.
 *
 * float64 takes them from libm. The float32 ones are straight-line arithmetic, which compilers turn into vector code:
 * selections instead of branches, integers only as bits. They select between results: an argument cut to its range
 * beforehand makes gcc compute a copy of what follows for each case. Without contraction the vector body and its tail
 * round alike, so a value does not depend on its position nor on the ISA. Errors are within 4 ulp, subnormal results
 * included; NaN stays NaN. The polynomials are weighted minimax fits on the intervals stated beside them. */

#if GCAM_DTYPE_IS_F32

#define GCAM_LOG2E 0x1.715476p+0f
#define GCAM_LN2_HI 0x1.63p-1f /* few bits: the product with a power of two's exponent is exact */
#define GCAM_LN2_LO -0x1.bd0106p-13f
#define GCAM_ROUND 0x1.8p+23f /* added and subtracted: rounds to the nearest integer */

GCAM_INLINE uint32_t
GCAM_FN(bits)(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

GCAM_INLINE float
GCAM_FN(from_bits)(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* exp(r) - 1 for |r| <= ln(2) / 2. */
GCAM_INLINE float
GCAM_FN(expm1_reduced)(float r)
{
    const float p = 0x1.5554aep-3f + r * (0x1.555484p-5f + r * (0x1.12296ep-7f + r * 0x1.6d9b0ap-10f));
    return r + r * r * (0.5f + r * p);
}

/* exp(hi + lo) for a small lo. With x = n ln 2 + r the power of two is multiplied in as two factors: either alone is in
 * range, and the second rounds once into the subnormals, or overflows. */
GCAM_INLINE float
GCAM_FN(exp_sum)(float hi, float lo)
{
    const float shifted = hi * GCAM_LOG2E + GCAM_ROUND;
    const float n = shifted - GCAM_ROUND;
    const float r = ((hi - n * GCAM_LN2_HI) - n * GCAM_LN2_LO) + lo;
    const uint32_t biased = GCAM_FN(bits)(shifted) - GCAM_FN(bits)(GCAM_ROUND) + 2 * 127;
    const uint32_t half = biased >> 1;
    const float factor = GCAM_FN(from_bits)(half << 23), rest = GCAM_FN(from_bits)((biased - half) << 23);
    const float y = (1.0f + GCAM_FN(expm1_reduced)(r)) * factor * rest;
    return hi < -104.0f ? 0.0f : hi > 89.0f ? INFINITY : y;
}

GCAM_INLINE float
GCAM_FN(exp)(float x)
{
    return GCAM_FN(exp_sum)(x, 0.0f);
}

/* exp(-factor x^2) for a power of two as factor; x^2 is an exact square of a few bits and the small rest. */
GCAM_INLINE float
GCAM_FN(exp_square)(float factor, float x)
{
    const float head = GCAM_FN(from_bits)((GCAM_FN(bits)(x) + 0x800) & 0xfffff000);
    return GCAM_FN(exp_sum)(-factor * head * head, -factor * (x - head) * (x + head));
}

/* exp(x) - 1 for x <= 0. */
GCAM_INLINE float
GCAM_FN(expm1_negative)(float x)
{
    const float shifted = x * GCAM_LOG2E + GCAM_ROUND;
    const float n = shifted - GCAM_ROUND;
    const float r = (x - n * GCAM_LN2_HI) - n * GCAM_LN2_LO;
    const float factor = GCAM_FN(from_bits)((GCAM_FN(bits)(shifted) - GCAM_FN(bits)(GCAM_ROUND) + 127) << 23);
    const float y = factor * GCAM_FN(expm1_reduced)(r) + (factor - 1.0f);
    return x < -30.0f ? -1.0f : y;
}

/* log(1 + f) = f - (h - s (h + R)) with h = f^2 / 2, s = f / (2 + f), R = 2 atanh(s) / s - 2, for s^2 <= 1/9.
 * `low` is added where rounding hurts least. */
GCAM_INLINE float
GCAM_FN(log1p_reduced)(float f, float low)
{
    const float s = f / (2.0f + f), z = s * s, half_square = 0.5f * f * f;
    const float tail = z * (0x1.5555p-1f + z * (0x1.99d27cp-2f + z * (0x1.1eb60ap-2f + z * 0x1.1ef89ap-2f)));
    return f - (half_square - (s * (half_square + tail) + low));
}

/* log(1 + f) for 0 <= f <= 1. */
GCAM_INLINE float
GCAM_FN(log1p_unit)(float f)
{
    return GCAM_FN(log1p_reduced)(f, 0.0f);
}

GCAM_INLINE float
GCAM_FN(log)(float x)
{
    const int tiny = x < 0x1p-126f;
    const uint32_t u = GCAM_FN(bits)(tiny ? x * 0x1p+23f : x);
    /* x = m 2^e with m in [sqrt(1/2), sqrt(2)): no cancellation near 1 */
    const int32_t e = (int32_t)(u - GCAM_FN(bits)(0x1.6a09e6p-1f)) >> 23;
    const float f = GCAM_FN(from_bits)(u - ((uint32_t)e << 23)) - 1.0f;
    const float n = (float)e - (tiny ? 23.0f : 0.0f);
    float y = n * GCAM_LN2_HI + GCAM_FN(log1p_reduced)(f, n * GCAM_LN2_LO);
    y = x < INFINITY ? y : x;
    y = x < 0.0f ? NAN : y;
    return x == 0.0f ? -INFINITY : y;
}

/* exp(x^2) erfc(x) for x >= 0: u = 1 / (1 + 3x/8) times a polynomial of u about the middle of its range, which keeps
 * the terms small. An error of u would count threefold, hence double. Good for x <= 10.5; beyond, exp(-x^2) is 0. */
GCAM_INLINE float
GCAM_FN(erfcx)(double x)
{
    const double inverse = 1.0 / (1.0 + 0.375 * x);
    const float u = (float)inverse, w = (float)(inverse - 0.625);
    float p = -0x1.503408p-7f + w * -0x1.046f18p-5f;
    p = 0x1.829e30p-6f + w * (0x1.289464p-4f + w * p);
    p = -0x1.fb8c0cp-4f + w * (-0x1.3916a2p-3f + w * p);
    p = 0x1.a15b1ep-1f + w * (0x1.2b909ap-2f + w * p);
    p = 0x1.b217c8p-1f + w * (0x1.08125ep+0f + w * p);
    return u * (0x1.f545fcp-2f + w * p);
}

GCAM_INLINE float
GCAM_FN(erf)(float x)
{
    const float a = __builtin_fabsf(x), z = x * x;
    float p = -0x1.a6d808p-11f + z * 0x1.51d5f0p-14f;
    p = -0x1.b80414p-6f + z * (0x1.5463cep-8f + z * p);
    p = -0x1.812740p-2f + z * (0x1.ce2d8cp-4f + z * p);
    const float inner = x + x * (0x1.06eba8p-3f + z * p);
    const float outer = 1.0f - GCAM_FN(exp_square)(1.0f, a) * GCAM_FN(erfcx)((double)a);
    return a < 0.96875f ? inner : __builtin_copysignf(outer, x);
}

#undef GCAM_LOG2E
#undef GCAM_LN2_HI
#undef GCAM_LN2_LO
#undef GCAM_ROUND

#else

GCAM_INLINE double
GCAM_FN(exp)(double x)
{
    return exp(x);
}

GCAM_INLINE double
GCAM_FN(exp_square)(double factor, double x)
{
    return exp(-factor * x * x);
}

GCAM_INLINE double
GCAM_FN(expm1_negative)(double x)
{
    return expm1(x);
}

GCAM_INLINE double
GCAM_FN(log1p_unit)(double f)
{
    return log1p(f);
}

GCAM_INLINE double
GCAM_FN(log)(double x)
{
    return log(x);
}

GCAM_INLINE double
GCAM_FN(erf)(double x)
{
    return erf(x);
}

#endif
