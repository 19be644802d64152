/* Which ISA levels this CPU (and its operating system) can run. */
#ifndef GCAM_SIMD_CPU_H
#define GCAM_SIMD_CPU_H

#include <stdbool.h>

bool gcam_cpu_has_avx2(void);   /* with FMA */
bool gcam_cpu_has_avx512(void); /* F, VL, DQ, BW, and FMA */
bool gcam_cpu_has_avx512_bf16(void);

#endif
