#include "dispatch/kernels.h"

#include <string.h>

#include "dispatch/families.inc"

const gcam_kernel gcam_kernels[GCAM_KERNEL_COUNT] = {
#define GCAM_KERNEL(name, family, inputs, outputs)                                                                     \
    {#name, sizeof(gcam_##family##_geom), gcam_##name##_init, inputs, outputs},
#include "dispatch/kernels.inc"
#undef GCAM_KERNEL
};

extern const gcam_isa gcam_isa_scalar;
#if defined(__x86_64__)
extern const gcam_isa gcam_isa_avx2, gcam_isa_avx512;
#elif defined(__aarch64__)
extern const gcam_isa gcam_isa_neon;
#endif

const gcam_isa *const gcam_isas[] = {
    &gcam_isa_scalar,
#if defined(__x86_64__)
    &gcam_isa_avx2,
    &gcam_isa_avx512,
#elif defined(__aarch64__)
    &gcam_isa_neon,
#endif
};
const int gcam_isa_count = (int)(sizeof gcam_isas / sizeof *gcam_isas);

static bool
supported(int isa)
{
    return gcam_isas[isa]->supported == NULL || gcam_isas[isa]->supported();
}

int
gcam_kernel_find(const char *name)
{
    for (int k = 0; k < GCAM_KERNEL_COUNT; k++) {
        if (strcmp(gcam_kernels[k].name, name) == 0) {
            return k;
        }
    }
    return -1;
}

int
gcam_isa_find(const char *name)
{
    for (int isa = 0; isa < gcam_isa_count; isa++) {
        if (strcmp(gcam_isas[isa]->name, name) == 0) {
            return supported(isa) ? isa : -1;
        }
    }
    return -1;
}

void
gcam_isa_describe(int isa, gcam_dtype dtype, gcam_attributes *attributes)
{
    attributes->dtype = dtype;
    attributes->tile = gcam_isas[isa]->tile[dtype];
    attributes->bf16 = gcam_isas[isa]->bf16 == NULL || gcam_isas[isa]->bf16();
}

int
gcam_isa_best(void)
{
    int best = 0;
    for (int isa = 1; isa < gcam_isa_count; isa++) {
        if (supported(isa)) {
            best = isa;
        }
    }
    return best;
}
