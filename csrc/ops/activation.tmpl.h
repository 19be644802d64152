/* Activation functions and their slopes, on one number: building blocks of ops/unary.tmpl.h and of fused epilogues.
 *
 * Exponentials have arguments <= 0 only, so that nothing overflows on the way to a finite result, and slopes come from
 * the exponential, not from 1 - y, which would lose their digits where the function is flat. What an
 * exponential of 0 multiplies is not looked at, so that the limits at infinity are values, not NaN. */
#define GCAM_SQRT_1_2 0.70710678118654752440
#define GCAM_INV_SQRT_2PI 0.39894228040143267794
#define GCAM_2_INV_SQRT_PI 1.12837916709551257390
#define GCAM_SQRT_2_PI 0.79788456080286535588
#define GCAM_GELU_CUBIC 0.044715

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

/* factor * Q(a), Q the upper tail of the normal distribution, a >= 0, gauss = exp(-a^2 / 2). The factor goes in before
 * the exponential, which may be subnormal and then has few digits to lose. */
GCAM_INLINE real_t
GCAM_FN(normal_tail)(real_t factor, real_t a, real_t gauss)
{
#if GCAM_DTYPE_IS_F32
    return factor * (0.5f * GCAM_FN(erfcx)(GCAM_SQRT_1_2 * (double)a)) * gauss;
#else
    (void)gauss;
    return factor * (0.5 * erfc(GCAM_SQRT_1_2 * a));
#endif
}

/* x Phi(x), Phi the normal distribution function. */
GCAM_INLINE real_t
GCAM_FN(gelu)(real_t x)
{
    const real_t a = GCAM_FN(abs)(x), gauss = GCAM_FN(exp_square)((real_t)0.5, a);
    const real_t below = gauss == 0 ? 0 : GCAM_FN(normal_tail)(a, a, gauss);
    return x < 0 ? -below : x - below;
}

GCAM_INLINE real_t
GCAM_FN(gelu_slope)(real_t x)
{
    const real_t a = GCAM_FN(abs)(x), gauss = GCAM_FN(exp_square)((real_t)0.5, a);
    const real_t density = (real_t)GCAM_INV_SQRT_2PI * gauss;
    const real_t below = gauss == 0 ? 0 : GCAM_FN(normal_tail)(1, a, gauss) - a * density;
    return x < 0 ? below : 1 - below;
}

/* x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 = x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)). The square root of the
 * exponential is never subnormal where the result is not. */
GCAM_INLINE real_t
GCAM_FN(gelu_tanh)(real_t x)
{
    const real_t a = GCAM_FN(abs)(x);
    const double w = (double)a;
    const real_t root = GCAM_FN(exp_wide)(-GCAM_SQRT_2_PI * (w + GCAM_GELU_CUBIC * w * w * w));
    const real_t below = root == 0 ? 0 : a * root * root;
    return (x < 0 ? -below : x) / (1 + root * root);
}

GCAM_INLINE real_t
GCAM_FN(gelu_tanh_slope)(real_t x)
{
    const real_t a = GCAM_FN(abs)(x);
    const double w = (double)a;
    const real_t e = GCAM_FN(exp_wide)(-2 * GCAM_SQRT_2_PI * (w + GCAM_GELU_CUBIC * w * w * w));
    const real_t steep = (real_t)(2 * GCAM_SQRT_2_PI * (w + 3 * GCAM_GELU_CUBIC * w * w * w));
    const real_t below = e == 0 ? 0 : e / (1 + e) * (1 - steep / (1 + e));
    return x < 0 ? below : 1 - below;
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

/* x sigmoid(x). */
GCAM_INLINE real_t
GCAM_FN(silu)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-GCAM_FN(abs)(x));
    const real_t below = e == 0 ? 0 : x * e;
    return (x < 0 ? below : x) / (1 + e);
}

/* s + x s', s' = e / (1 + e)^2. */
GCAM_INLINE real_t
GCAM_FN(silu_slope)(real_t x)
{
    const real_t e = GCAM_FN(exp)(-GCAM_FN(abs)(x)), square = (1 + e) * (1 + e);
    const real_t below = e == 0 ? 0 : e * (1 + e + x) / square;
    const real_t above = e == 0 ? 1 : (1 + e + x * e) / square;
    return x < 0 ? below : above;
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
#undef GCAM_SQRT_1_2
#undef GCAM_INV_SQRT_2PI
#undef GCAM_2_INV_SQRT_PI
#undef GCAM_SQRT_2_PI
#undef GCAM_GELU_CUBIC
