/* AVX2 + FMA. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/cpu.h"

#define GCAM_ISA avx2
#define GCAM_SUPPORTED gcam_cpu_has_avx2
#define GCAM_SUPPORTED_BF16 NULL
#define GCAM_REGISTERS 16
#define GCAM_TILE_ROWS 6
#define GCAM_TILE_VECTORS 2
#define GCAM_TARGET "avx2,fma"
#include "simd/target_begin.h"
#include "simd/vec_avx2.h"
#include "dispatch/isa.inc"
#include "simd/target_end.h"
#else
typedef int gcam_isa_avx2_is_for_x86_64;
#endif
