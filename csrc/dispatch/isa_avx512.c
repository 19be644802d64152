/* AVX-512 F, VL, DQ, BW; BF16 in the kernels that need it (simd/bf16.h): no compiler uses it of its own accord. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/cpu.h"

#define GCAM_ISA avx512
#define GCAM_SUPPORTED gcam_cpu_has_avx512
#define GCAM_SUPPORTED_BF16 gcam_cpu_has_avx512_bf16
#define GCAM_REGISTERS 32
#define GCAM_TILE_ROWS 8
#define GCAM_TILE_VECTORS 3
#define GCAM_TARGET "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw,avx512bf16"
#include "simd/target_begin.h"
#include "simd/vec_avx512.h"
#include "dispatch/isa.inc"
#include "simd/target_end.h"
#else
typedef int gcam_isa_avx512_is_for_x86_64;
#endif
