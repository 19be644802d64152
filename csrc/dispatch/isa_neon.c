/* NEON, which every 64-bit ARM has. */
#if defined(__aarch64__)
#include <arm_neon.h>

#define GCAM_ISA neon
#define GCAM_SUPPORTED NULL
#define GCAM_SUPPORTED_BF16 NULL
#define GCAM_REGISTERS 32
#define GCAM_TILE_ROWS 8
#define GCAM_TILE_VECTORS 3
#include "simd/vec_neon.h"
#include "dispatch/isa.inc"
#else
typedef int gcam_isa_neon_is_for_aarch64;
#endif
