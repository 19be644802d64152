/* The kernel table: what each kernel is called, what it needs, and its code for each ISA level and dtype. */
#ifndef GCAM_DISPATCH_KERNELS_H
#define GCAM_DISPATCH_KERNELS_H

#include <stdbool.h>

#include "base/kernel.h"

enum {
#define GCAM_KERNEL(name, family, inputs, outputs) GCAM_K_##name,
#include "dispatch/kernels.inc"
#undef GCAM_KERNEL
    GCAM_KERNEL_COUNT
};

typedef struct {
    const char *name;
    size_t geom_bytes;
    gcam_kernel_init init;
    int inputs, outputs;
} gcam_kernel;

extern const gcam_kernel gcam_kernels[GCAM_KERNEL_COUNT];

typedef struct {
    const char *name;
    bool (*supported)(void); /* NULL: always */
    bool (*bf16)(void);      /* whether the CPU runs its kernels on bfloat16; NULL: always, by other instructions */
    gcam_tile tile[GCAM_DTYPES];
    gcam_compute compute[GCAM_KERNEL_COUNT][GCAM_DTYPES];
} gcam_isa;

/* All levels of this build, plainest first; each entry is complete. */
extern const gcam_isa *const gcam_isas[];
extern const int gcam_isa_count;

/* Index of a kernel or an ISA level by name; -1 if there is none (or the CPU lacks it). */
int gcam_kernel_find(const char *name);
int gcam_isa_find(const char *name);
int gcam_isa_best(void);

/* Fills in what attributes say of the level and type in use. */
void gcam_isa_describe(int isa, gcam_dtype dtype, gcam_attributes *attributes);

#endif
