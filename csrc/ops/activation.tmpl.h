/* Activation functions and their slopes, on one number: building blocks of ops/unary.tmpl.h and of fused epilogues.
 *
 * Exponentials have arguments <= 0 only, so that nothing overflows on the way to a finite result, and slopes come from
 * the exponential, not from 1 - y, which would lose their digits where the function is flat. What an
 * exponential of 0 multiplies is not looked at, so that the limits at infinity are values, not NaN. */
#define GCAM_2_INV_SQRT_PI 1.12837916709551257390

GCAM_INLINE real_t
GCAM_FN(abs)(real_t x)
{
#if GCAM_DTYPE_IS_F32
    return __builtin_fabsf(x);
#else
    return __builtin_fabs(x);
#endif
}

GCAM_INLINE real_t
GCAM_FN(sqrt)(real_t x)
{
#if GCAM_DTYPE_IS_F32
    return __builtin_sqrtf(x);
#else
    return __builtin_sqrt(x);
#endif
}

GCAM_INLINE real_t
GCAM_FN(clip)(real_t x, real_t low, real_t high)
{
    const real_t above = x < low ? low : x;
    return above > high ? high : above;
}

GCAM_INLINE real_t
GCAM_FN(sigmoid)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-GCAM_FN(abs)(x));
    return (x < 0 ? e : 1) / (1 + e);
}

GCAM_INLINE real_t
GCAM_FN(sigmoid_slope)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-GCAM_FN(abs)(x));
    return e / ((1 + e) * (1 + e));
}

GCAM_INLINE real_t
GCAM_FN(tanh)(real_t x)
{
#if GCAM_DTYPE_IS_F32
    const float m = GCAM_FN(expm1_negative)(-2 * GCAM_FN(abs)(x));
    return __builtin_copysignf(-m / (2 + m), x);
#else
    return tanh(x);
#endif
}

GCAM_INLINE real_t
GCAM_FN(tanh_slope)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-2 * GCAM_FN(abs)(x));
    return 4 * e / ((1 + e) * (1 + e));
}

GCAM_INLINE real_t
GCAM_FN(hard_swish)(real_t x)
{
    const real_t inside = x <= -3 ? 0 : x * (x + 3) / 6;
    return x >= 3 ? x : inside;
}

GCAM_INLINE real_t
GCAM_FN(softplus)(real_t x)
{
    return (x < 0 ? 0 : x) + GCAM_FN(log1p_unit)(GCAM_FN(exp)(-GCAM_FN(abs)(x)));
}

GCAM_INLINE real_t
GCAM_FN(erf_slope)(real_t x)
{
    return (real_t)GCAM_2_INV_SQRT_PI * GCAM_FN(exp_square)(1, x);
}

/* x / (1 + |x|). */
GCAM_INLINE real_t
GCAM_FN(softsign)(real_t x)
{
    const real_t inverse = 1 / (1 + GCAM_FN(abs)(x));
    const real_t outer = x < 0 ? inverse - 1 : 1 - inverse;
    return GCAM_FN(abs)(x) < 1 ? x * inverse : outer;
}

GCAM_INLINE real_t
GCAM_FN(softsign_slope)(real_t x)
{
    const real_t inverse = 1 / (1 + GCAM_FN(abs)(x));
    return inverse * inverse;
}

/* x w with w = tanh(softplus(x)) = (1 + 2 e) / (1 + 2 e + 2 e^2), e = exp(-x). */
GCAM_INLINE real_t
GCAM_FN(mish)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-GCAM_FN(abs)(x));
    const real_t below = e == 0 ? 0 : x * (e * (e + 2) / (e * (e + 2) + 2));
    return x < 0 ? below : x * ((1 + 2 * e) / (1 + 2 * e + 2 * e * e));
}

/* w + x w', w' = 4 e^2 (1 + e) / (1 + 2 e + 2 e^2)^2. */
GCAM_INLINE real_t
GCAM_FN(mish_slope)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-GCAM_FN(abs)(x));
    const real_t low = e * (e + 2) + 2, high = 1 + 2 * e + 2 * e * e;
    const real_t below = e == 0 ? 0 : e * (e + 2) / low + x * (4 * e * (1 + e) / (low * low));
    const real_t above = e == 0 ? 1 : (1 + 2 * e) / high + x * (4 * e * e * (1 + e) / (high * high));
    return x < 0 ? below : above;
}
#undef GCAM_2_INV_SQRT_PI
