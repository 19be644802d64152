#include "simd/cpu.h"

#if defined(__x86_64__)

bool
gcam_cpu_has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool
gcam_cpu_has_avx512(void)
{
    __builtin_cpu_init();
    return gcam_cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
           && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}

bool
gcam_cpu_has_avx512_bf16(void)
{
    return gcam_cpu_has_avx512() && __builtin_cpu_supports("avx512bf16");
}

#else

bool
gcam_cpu_has_avx2(void)
{
    return false;
}

bool
gcam_cpu_has_avx512(void)
{
    return false;
}

bool
gcam_cpu_has_avx512_bf16(void)
{
    return false;
}

#endif
