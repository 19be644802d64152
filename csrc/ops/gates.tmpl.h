/* x s(x) with a smooth step s, and its slope, on vectors:
 *
 *   silu        s(x) = 1 / (1 + exp(-x))
 *   gelu        s(x) = Phi(x), the normal distribution function
 *   gelu_tanh   s(x) = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 = 1 / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3)))
 *
 * With fused multiply-add and without selections they take a third to half of the time of what a compiler makes of one
 * number's formula. As s(-x) = 1 - s(x), all comes from b = -|x| s(-|x|): x s(x) is b + max(x, 0), and its slope is
 * that of b for x < 0, 1 less it for x >= 0. The limits at infinity are values; NaN stays NaN.
 *
 * Errors of float32 are within 5 ulp, subnormal results included; those of slopes, which cross 0, are within 7 ulp of
 * the larger of their terms. */
#if GCAM_DTYPE_IS_F32

#define GATE_LOG2E 0x1.715476p+0f
#define GATE_LN2_HI 0x1.63p-1f /* few bits: the product with a power of two's exponent is exact */
#define GATE_LN2_LO -0x1.bd0106p-13f
#define GATE_SCALE 64 /* powers of two by which exponentials are carried larger, so that none is subnormal */
#define GATE_BACK 0x1p-64f
#define GATE_ROUND (0x1.8p+23f + GATE_SCALE) /* added and subtracted: rounds to the nearest integer */
/* Of |x|: from here on b is 0, and its slope too. */
#define GATE_SILU 120.0f
#define GATE_GELU 15.0f
#define GATE_TANH 11.0f
#define GATE_SQRT_2PI 0x1.40d932p+1f
#define GATE_INV_SQRT_2PI 0x1.988454p-2f
#define GATE_TANH_LINEAR 1.59576912160573071176 /* 2 sqrt(2 / pi) */
#define GATE_TANH_CUBIC 0.07135481627260025378  /* 0.044715 of it */

typedef uint32_t GCAM_FN(gate_bits) __attribute__((vector_size(GCAM_VEC_BYTES)));

/* |x|, at most `limit`. */
GCAM_INLINE vreal
GCAM_FN(gate_size)(vreal x, float limit)
{
    return V(at_most)((vreal)((GCAM_FN(gate_bits))x & 0x7fffffffu), V(set1)(limit));
}

/* For exp(x) with x = n ln 2 + r: n + GATE_ROUND. */
GCAM_INLINE vreal
GCAM_FN(gate_shift)(vreal x)
{
    return V(fma)(x, V(set1)(GATE_LOG2E), V(set1)(GATE_ROUND));
}

/* r; `exact` may lack a small part of x, to be added. */
GCAM_INLINE vreal
GCAM_FN(gate_rest)(vreal exact, vreal shifted)
{
    const vreal n = V(sub)(shifted, V(set1)(GATE_ROUND));
    return V(fma)(n, V(set1)(-GATE_LN2_LO), V(fma)(n, V(set1)(-GATE_LN2_HI), exact));
}

/* exp(r) - 1: a weighted minimax fit on |r| <= ln(2) / 2. */
GCAM_INLINE vreal
GCAM_FN(gate_expm1)(vreal r)
{
    vreal p = V(fma)(r, V(set1)(0x1.106252p-7f), V(set1)(0x1.572a66p-5f));
    p = V(fma)(r, p, V(set1)(0x1.5557b0p-3f));
    p = V(fma)(r, p, V(set1)(0x1.fffdfcp-2f));
    return V(mul)(r, V(fma)(r, p, V(set1)(1.0f)));
}

/* The power of two of exp(x), over GATE_BACK, as what is added to the bits of a number: the rounding constant leaves it
 * in the low bits of `shifted`, which alone survive the shift. */
GCAM_INLINE
GCAM_FN(gate_bits) GCAM_FN(gate_power)(vreal shifted)
{
    return (GCAM_FN(gate_bits))shifted << 23;
}

/* x 2^power for any x, 0 too. */
GCAM_INLINE vreal
GCAM_FN(gate_scaled)(vreal x, GCAM_FN(gate_bits) power)
{
    return V(mul)(x, (vreal)((GCAM_FN(gate_bits))V(set1)(1.0f) + power));
}

/* max(x, 0) - size GATE_BACK: multiplied back where it is rounded for the last time. */
GCAM_INLINE vreal
GCAM_FN(gate_value)(vreal x, vreal size)
{
    return V(fma)(size, V(set1)(-GATE_BACK), V(relu)(x));
}

/* `slope` of b for x < 0, 1 less it for x >= 0. */
GCAM_INLINE vreal
GCAM_FN(gate_slope)(vreal x, vreal slope)
{
    const GCAM_FN(gate_bits) negative = (GCAM_FN(gate_bits))((gcam_mask_f32)x >> 31);
    const vreal one = (vreal)(~negative & (GCAM_FN(gate_bits))V(set1)(1.0f));
    return V(add)(one, (vreal)((GCAM_FN(gate_bits))slope ^ (~negative & 0x80000000u)));
}

/* a e / (1 + e) / GATE_BACK with the exponential e = (1 + m) 2^power GATE_BACK. */
GCAM_INLINE vreal
GCAM_FN(gate_sigmoid)(vreal a, vreal m, GCAM_FN(gate_bits) power)
{
    const vreal e = GCAM_FN(gate_scaled)(V(add)(m, V(set1)(1.0f)), power);
    return GCAM_FN(gate_scaled)(V(fma)(a, m, a), power) / V(fma)(e, V(set1)(GATE_BACK), V(set1)(1.0f));
}

/* The slope e (1 + e - steep) / (1 + e)^2 of b = -a e / (1 + e), steep being that of -log(e) times a. */
GCAM_INLINE vreal
GCAM_FN(gate_sigmoid_slope)(vreal steep, vreal m, GCAM_FN(gate_bits) power)
{
    const vreal e = GCAM_FN(gate_scaled)(V(add)(m, V(set1)(1.0f)), power);
    const vreal over = V(fma)(e, V(set1)(GATE_BACK), V(set1)(1.0f));
    return V(mul)(V(mul)(e, V(sub)(over, steep)) / V(mul)(over, over), V(set1)(GATE_BACK));
}

/* exp(-a) as 1 + the result, and a power of two. */
GCAM_INLINE vreal
GCAM_FN(silu_exp)(vreal a, GCAM_FN(gate_bits) * power)
{
    const vreal x = V(sub)(V(set1)(0.0f), a), shifted = GCAM_FN(gate_shift)(x);
    *power = GCAM_FN(gate_power)(shifted);
    return GCAM_FN(gate_expm1)(GCAM_FN(gate_rest)(x, shifted));
}

GCAM_INLINE vreal
GCAM_FN(silu)(vreal x)
{
    const vreal a = GCAM_FN(gate_size)(x, GATE_SILU);
    GCAM_FN(gate_bits) power;
    const vreal m = GCAM_FN(silu_exp)(a, &power);
    return GCAM_FN(gate_value)(x, GCAM_FN(gate_sigmoid)(a, m, power));
}

GCAM_INLINE vreal
GCAM_FN(silu_slope)(vreal x)
{
    const vreal a = GCAM_FN(gate_size)(x, GATE_SILU);
    GCAM_FN(gate_bits) power;
    const vreal m = GCAM_FN(silu_exp)(a, &power);
    return GCAM_FN(gate_slope)(x, GCAM_FN(gate_sigmoid_slope)(a, m, power));
}

/* The same of exp(-a^2 / 2); a^2 is an exact square of a few bits and the small rest. */
GCAM_INLINE vreal
GCAM_FN(gelu_exp)(vreal a, GCAM_FN(gate_bits) * power)
{
    const vreal half = V(set1)(-0.5f), shifted = GCAM_FN(gate_shift)(V(mul)(V(mul)(a, half), a));
    const vreal head = (vreal)((GCAM_FN(gate_bits))a & 0xfffff000u);
    const vreal rest = V(mul)(V(sub)(a, head), V(add)(a, head));
    *power = GCAM_FN(gate_power)(shifted);
    return GCAM_FN(gate_expm1)(V(fma)(rest, half, GCAM_FN(gate_rest)(V(mul)(V(mul)(head, half), head), shifted)));
}

/* Q(a) exp(a^2 / 2) as the ratio of the result and *under, Q the upper tail of the normal distribution: with the result
 * t, *under is sqrt(2 pi) a t + R(a), so that of a large a t errors cancel. A minimax fit on [0, GATE_GELU] within
 * 4.9e-8, all of whose terms are positive. */
GCAM_INLINE vreal
GCAM_FN(gelu_tail)(vreal a, vreal *under)
{
    vreal t = V(fma)(a, V(set1)(0x1.7846b8p-8f), V(set1)(0x1.a1cef4p-5f));
    t = V(fma)(a, t, V(set1)(0x1.b434a6p-3f));
    t = V(fma)(a, t, V(set1)(0x1.e83c0ep-2f));
    t = V(fma)(a, t, V(set1)(0.5f));
    vreal r = V(fma)(a, V(set1)(0x1.d73350p-7f), V(set1)(0x1.06bd42p-3f));
    r = V(fma)(a, r, V(set1)(0x1.fe1c7ap-2f));
    r = V(fma)(a, r, V(set1)(1.0f));
    *under = V(fma)(V(mul)(a, t), V(set1)(GATE_SQRT_2PI), r);
    return t;
}

GCAM_INLINE vreal
GCAM_FN(gelu)(vreal x)
{
    const vreal a = GCAM_FN(gate_size)(x, GATE_GELU);
    GCAM_FN(gate_bits) power;
    vreal under;
    const vreal m = GCAM_FN(gelu_exp)(a, &power), t = V(mul)(a, GCAM_FN(gelu_tail)(a, &under));
    /* the divisor, at least 1, takes the power of two */
    return GCAM_FN(gate_value)(x, V(fma)(t, m, t) / (vreal)((GCAM_FN(gate_bits))under - power));
}

/* The slope of b is exp(-a^2 / 2) (Q exp(a^2 / 2) - a / sqrt(2 pi)). */
GCAM_INLINE vreal
GCAM_FN(gelu_slope)(vreal x)
{
    const vreal a = GCAM_FN(gate_size)(x, GATE_GELU);
    GCAM_FN(gate_bits) power;
    vreal under;
    const vreal m = GCAM_FN(gelu_exp)(a, &power), over = GCAM_FN(gelu_tail)(a, &under);
    const vreal slope = V(fma)(a, V(set1)(-GATE_INV_SQRT_2PI), over / under);
    const vreal scaled = GCAM_FN(gate_scaled)(V(fma)(slope, m, slope), power);
    return GCAM_FN(gate_slope)(x, V(mul)(scaled, V(set1)(GATE_BACK)));
}

/* The same of exp(-w), w = 2 sqrt(2 / pi) (a + 0.044715 a^3) in double: its absolute error is a relative one of the
 * result. */
GCAM_INLINE vreal
GCAM_FN(gelu_tanh_exp)(vreal a, GCAM_FN(gate_bits) * power)
{
    typedef double doubles __attribute__((vector_size(2 * GCAM_VEC_BYTES)));
    const doubles wide = __builtin_convertvector(a, doubles);
    const doubles w = wide * (-GATE_TANH_LINEAR - GATE_TANH_CUBIC * (wide * wide));
    const vreal near = __builtin_convertvector(w, vreal), shifted = GCAM_FN(gate_shift)(near);
    const vreal rest = __builtin_convertvector(w - __builtin_convertvector(near, doubles), vreal);
    *power = GCAM_FN(gate_power)(shifted);
    return GCAM_FN(gate_expm1)(V(add)(GCAM_FN(gate_rest)(near, shifted), rest));
}

GCAM_INLINE vreal
GCAM_FN(gelu_tanh)(vreal x)
{
    const vreal a = GCAM_FN(gate_size)(x, GATE_TANH);
    GCAM_FN(gate_bits) power;
    const vreal m = GCAM_FN(gelu_tanh_exp)(a, &power);
    return GCAM_FN(gate_value)(x, GCAM_FN(gate_sigmoid)(a, m, power));
}

GCAM_INLINE vreal
GCAM_FN(gelu_tanh_slope)(vreal x)
{
    const vreal a = GCAM_FN(gate_size)(x, GATE_TANH);
    const vreal cubic = V(set1)((float)(3 * GATE_TANH_CUBIC)), linear = V(set1)((float)GATE_TANH_LINEAR);
    const vreal steep = V(mul)(a, V(fma)(V(mul)(a, a), cubic, linear));
    GCAM_FN(gate_bits) power;
    const vreal m = GCAM_FN(gelu_tanh_exp)(a, &power);
    return GCAM_FN(gate_slope)(x, GCAM_FN(gate_sigmoid_slope)(steep, m, power));
}

#undef GATE_LOG2E
#undef GATE_LN2_HI
#undef GATE_LN2_LO
#undef GATE_SCALE
#undef GATE_BACK
#undef GATE_ROUND
#undef GATE_SILU
#undef GATE_GELU
#undef GATE_TANH
#undef GATE_SQRT_2PI
#undef GATE_INV_SQRT_2PI
#undef GATE_TANH_LINEAR
#undef GATE_TANH_CUBIC

#else

#define GATE_SQRT_1_2 0.70710678118654752440
#define GATE_INV_SQRT_2PI 0.39894228040143267794
#define GATE_SQRT_2_PI 0.79788456080286535588
#define GATE_TANH_CUBIC 0.044715

GCAM_INLINE double
GCAM_FN(silu_one)(double x)
{
    const double e = exp(-fabs(x));
    const double below = e == 0 ? 0 : x * e;
    return (x < 0 ? below : x) / (1 + e);
}

/* s + x s', s' = e / (1 + e)^2. */
GCAM_INLINE double
GCAM_FN(silu_slope_one)(double x)
{
    const double e = exp(-fabs(x)), square = (1 + e) * (1 + e);
    const double below = e == 0 ? 0 : e * (1 + e + x) / square;
    const double above = e == 0 ? 1 : (1 + e + x * e) / square;
    return x < 0 ? below : above;
}

GCAM_INLINE double
GCAM_FN(gelu_one)(double x)
{
    const double a = fabs(x);
    const double below = exp(-0.5 * a * a) == 0 ? 0 : a * (0.5 * erfc(GATE_SQRT_1_2 * a));
    return x < 0 ? -below : x - below;
}

GCAM_INLINE double
GCAM_FN(gelu_slope_one)(double x)
{
    const double a = fabs(x), gauss = exp(-0.5 * a * a);
    const double below = gauss == 0 ? 0 : 0.5 * erfc(GATE_SQRT_1_2 * a) - a * (GATE_INV_SQRT_2PI * gauss);
    return x < 0 ? below : 1 - below;
}

/* The square root of the exponential is never subnormal where the result is not. */
GCAM_INLINE double
GCAM_FN(gelu_tanh_one)(double x)
{
    const double a = fabs(x), root = exp(-GATE_SQRT_2_PI * (a + GATE_TANH_CUBIC * a * a * a));
    const double below = root == 0 ? 0 : a * root * root;
    return (x < 0 ? -below : x) / (1 + root * root);
}

GCAM_INLINE double
GCAM_FN(gelu_tanh_slope_one)(double x)
{
    const double a = fabs(x), e = exp(-2 * GATE_SQRT_2_PI * (a + GATE_TANH_CUBIC * a * a * a));
    const double steep = 2 * GATE_SQRT_2_PI * (a + 3 * GATE_TANH_CUBIC * a * a * a);
    const double below = e == 0 ? 0 : e / (1 + e) * (1 - steep / (1 + e));
    return x < 0 ? below : 1 - below;
}

#define GATE_LANES(name)                                                                                               \
    GCAM_INLINE vreal GCAM_FN(name)(vreal x)                                                                           \
    {                                                                                                                  \
        for (int i = 0; i < VLANES; i++) {                                                                             \
            x[i] = GCAM_FN(name##_one)(x[i]);                                                                          \
        }                                                                                                              \
        return x;                                                                                                      \
    }

GATE_LANES(silu)
GATE_LANES(silu_slope)
GATE_LANES(gelu)
GATE_LANES(gelu_slope)
GATE_LANES(gelu_tanh)
GATE_LANES(gelu_tanh_slope)
#undef GATE_LANES
#undef GATE_SQRT_1_2
#undef GATE_INV_SQRT_2PI
#undef GATE_SQRT_2_PI
#undef GATE_TANH_CUBIC

#endif
