/* C tests without Python: the library alone, under the sanitizers. Ends with "N passed, M failed". */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "call.h"
#include "dispatch/kernels.h"
#include "engine/plan.h"

static int passed, failed;

static void
check(bool holds, const char *what, const char *detail)
{
    if (holds) {
        passed++;
    } else {
        failed++;
        printf("FAIL %s %s\n", what, detail);
    }
}

/* Small integers, so that float32 sums of products are exact. */
static void
fill(float *values, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int)(seed >> 28) - 8.0f;
    }
}

/* Run one kernel on its own memory; the caller frees the result. */
static float *
run_kernel(const char *name, int isa, const int64_t *ints, size_t count, const float *const *in, int workers)
{
    const int k = gcam_kernel_find(name);
    void *geom = gcam_malloc(gcam_kernels[k].geom_bytes);
    gcam_operands operands;
    memset(&operands, 0, sizeof operands);
    const gcam_attributes attributes = {ints, count, NULL, 0, GCAM_F32, gcam_isas[isa]->tile[GCAM_F32], 1};
    if (gcam_kernels[k].init(geom, &attributes, &operands) != GCAM_OK) {
        gcam_free(geom);
        return NULL;
    }
    call c = {.compute = gcam_isas[isa]->compute[k][GCAM_F32], .geom = geom};
    for (int i = 0; i < gcam_kernels[k].inputs; i++) {
        c.in[i] = operands.in[i] == 0 ? NULL : in[i];
    }
    float *result = gcam_malloc(operands.out[0] * sizeof *result);
    c.out[0] = result;
    c.scratch_bytes = operands.scratch_bytes;
    c.scratch = gcam_malloc(operands.scratch_bytes * (size_t)workers);
    gcam_parallel_run(run_call, &c, workers);
    gcam_free(c.scratch);
    gcam_free(geom);
    return result;
}

/* rank 2: n, c, k, groups, in, kernel, stride, pad_lo, pad_hi, dilation */
static const int64_t convolutions[][16] = {
    {1, 3, 8, 1, 9, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},   {2, 4, 6, 2, 7, 11, 3, 2, 2, 3, 0, 1, 2, 0, 1, 2},
    {1, 16, 40, 1, 7, 7, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1}, {1, 6, 6, 6, 20, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 300, 7, 1, 5, 5, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1}, {3, 2, 5, 1, 1, 17, 1, 5, 1, 2, 0, 4, 0, 3, 1, 1},
};

static void
test_convolution(const int64_t *shape, int isa)
{
    const size_t x_size = (size_t)(shape[0] * shape[1] * shape[4] * shape[5]);
    const size_t w_size = (size_t)(shape[2] * (shape[1] / shape[3]) * shape[6] * shape[7]);
    int64_t ints[20] = {2};
    memcpy(ints + 1, shape, 4 * sizeof *shape);
    memcpy(ints + 5, shape + 4, 12 * sizeof *shape);
    ints[17] = 1; /* bias */
    float *x = gcam_malloc(x_size * 4), *w = gcam_malloc(w_size * 4), *b = gcam_malloc((size_t)shape[2] * 4);
    fill(x, x_size, 1);
    fill(w, w_size, 2);
    fill(b, (size_t)shape[2], 3);
    float *naive = run_kernel("conv_output_naive", 0, ints, 19, (const float *const[]){x, w, b}, 1);
    float *packed = run_kernel("conv_pack", isa, ints, 19, (const float *const[]){w}, 1);
    const int64_t out0 = (shape[4] + shape[10] + shape[12] - shape[14] * (shape[6] - 1) - 1) / shape[8] + 1;
    const int64_t out1 = (shape[5] + shape[11] + shape[13] - shape[15] * (shape[7] - 1) - 1) / shape[9] + 1;
    const size_t y_size = (size_t)(shape[0] * shape[2] * out0 * out1);
    for (int workers = 1; workers <= 8; workers += workers < 4 ? 1 : 4) {
        float *y = run_kernel("conv_output", isa, ints, 19, (const float *const[]){x, packed, b}, workers);
        check(y != NULL && memcmp(y, naive, y_size * 4) == 0, "conv_output", gcam_isas[isa]->name);
        gcam_free(y);
    }
    ints[17] = 0;
    float *dx_naive = run_kernel("conv_input_grad_naive", 0, ints, 19, (const float *const[]){naive, w}, 1);
    ints[18] = 1;
    float *flipped = run_kernel("conv_pack", isa, ints, 19, (const float *const[]){w}, 3);
    float *dx = run_kernel("conv_input_grad", isa, ints, 19, (const float *const[]){naive, flipped}, 3);
    float largest = 0; /* sums of the naive output are small integers too, unless they pass 2^24 */
    for (size_t i = 0; i < x_size; i++) {
        const float apart = dx[i] - dx_naive[i];
        largest = apart > largest ? apart : -apart > largest ? -apart : largest;
    }
    check(largest == 0, "conv_input_grad", gcam_isas[isa]->name);
    float *all[] = {x, w, b, naive, packed, dx_naive, flipped, dx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        gcam_free(all[i]);
    }
}

/* One step of the projection on the first singular vector (cam/eigen.h); the caller frees both results. */
static void
eigen_step(const char *name, int isa, const int64_t *ints, const float *const *in, int workers, float *out[2])
{
    const int k = gcam_kernel_find(name);
    void *geom = gcam_malloc(gcam_kernels[k].geom_bytes);
    gcam_operands operands;
    memset(&operands, 0, sizeof operands);
    const gcam_attributes attributes = {ints, 13, NULL, 0, GCAM_F32, gcam_isas[isa]->tile[GCAM_F32], 1};
    check(gcam_kernels[k].init(geom, &attributes, &operands) == GCAM_OK, "geometry", name);
    call c = {.compute = gcam_isas[isa]->compute[k][GCAM_F32], .geom = geom};
    for (int i = 0; i < gcam_kernels[k].inputs; i++) {
        c.in[i] = operands.in[i] == 0 ? NULL : in[i];
    }
    for (int i = 0; i < 2; i++) {
        c.out[i] = out[i] = operands.out[i] == 0 ? NULL : gcam_malloc(operands.out[i] * sizeof(float));
    }
    gcam_parallel_run(run_call, &c, workers);
    gcam_free(geom);
}

/* All steps for C channels and n positions, every term, centred and not, channels first and last, and kernel PCA: the
 * same bytes for any number of workers; a number that is not finite ends in NaN. */
static void
test_projection(int isa, int64_t channels, int64_t positions, int kind, float bad)
{
    const int64_t term = kind % 6, last = kind % 2;
    const int64_t strides[2] = {last ? 1 : positions, last ? channels : 1};
    const int64_t ints[13] = {channels, positions, strides[0],    strides[1], strides[0],        strides[1],   term,
                              kind > 5, 0,         kind % 7 == 0, kind % 2,   kind % 3 ? 1 : -1, kind % 4 == 1};
    const size_t count = (size_t)(channels * positions);
    float *a = gcam_malloc(count * 4), *g = gcam_malloc(count * 4), *w = gcam_malloc((size_t)channels * 4);
    float *r = gcam_malloc((size_t)positions * 4), *first = NULL;
    fill(a, count, 1);
    fill(g, count, 2);
    fill(w, (size_t)channels, 3);
    fill(r, (size_t)positions, 4);
    a[count / 2] = isfinite(bad) ? a[count / 2] : bad;
    for (int workers = 1; workers <= 4; workers++) {
        float *matrix[2], *panels[2], *gram[2], *vector[2], *maps[2], *result[2];
        eigen_step("eigen_matrix", isa, ints, (const float *const[]){a, g, w}, workers, matrix);
        eigen_step("eigen_pack", isa, ints, (const float *const[]){matrix[0], matrix[1]}, workers, panels);
        eigen_step("eigen_gram", isa, ints, (const float *const[]){panels[0]}, workers, gram);
        eigen_step("eigen_vector", isa, ints, (const float *const[]){gram[0], matrix[1]}, workers, vector);
        eigen_step("eigen_project", isa, ints, (const float *const[]){matrix[0], matrix[1], vector[0]}, workers, maps);
        eigen_step("eigen_sign", isa, ints,
                   (const float *const[]){matrix[0], matrix[1], vector[0], maps[0], maps[1], r}, workers, result);
        if (workers == 1) {
            first = result[0];
            result[0] = NULL;
        } else {
            check(memcmp(result[0], first, (size_t)positions * 4) == 0, "projection", gcam_isas[isa]->name);
        }
        float *all[] = {matrix[0], matrix[1], panels[0], panels[1], gram[0],   gram[1],
                        vector[0], vector[1], maps[0],   maps[1],   result[0], result[1]};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            gcam_free(all[i]);
        }
    }
    const bool spoilt = !isfinite(bad);
    check(isnan(first[0]) == spoilt, "projection of numbers that are not finite", gcam_isas[isa]->name);
    float *all[] = {a, g, w, r, first};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        gcam_free(all[i]);
    }
}

static void
test_projections(int isa)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 9}, {9, 1}, {3, 5}, {24, 30}, {70, 49}, {31, 300}, {260, 51}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int kind = 0; kind < 12; kind++) {
            test_projection(isa, sizes[i][0], sizes[i][1], kind, 0);
        }
        test_projection(isa, sizes[i][0], sizes[i][1], 7, (float)INFINITY);
        test_projection(isa, sizes[i][0], sizes[i][1], 0, (float)NAN);
    }
}

/* Attributes whose sizes overflow, or make no sense, are refused by every kernel. */
static void
test_hostile_attributes(void)
{
    static const int64_t values[] = {-1, 0, 1, 2, INT32_MAX, (int64_t)1 << 32, (int64_t)1 << 62, INT64_MAX, INT64_MIN};
    unsigned seed = 7;
    for (int k = 0; k < GCAM_KERNEL_COUNT; k++) {
        void *geom = gcam_malloc(gcam_kernels[k].geom_bytes);
        for (int round = 0; round < 20000; round++) {
            int64_t ints[32];
            double reals[4] = {0.5, -1.0, 1e300, 0.0};
            for (int i = 0; i < 32; i++) {
                seed = seed * 1664525u + 1013904223u;
                ints[i] = values[(seed >> 24) % (round % 3 == 0 ? 9 : 4)];
            }
            gcam_operands operands;
            memset(&operands, 0, sizeof operands);
            const gcam_attributes attributes = {ints,     (seed >> 8) % 32, reals, (seed >> 16) % 4,
                                                GCAM_F32, {6, 16, 16},      0};
            const gcam_status status = gcam_kernels[k].init(geom, &attributes, &operands);
            if (status == GCAM_OK && operands.out[0] > (size_t)PTRDIFF_MAX) {
                check(false, "attributes", gcam_kernels[k].name);
            }
        }
        check(true, "attributes", gcam_kernels[k].name);
        gcam_free(geom);
    }
}

/* An empty operand must not hide that another size overflows: each is a size on its own. */
static void
test_empty_but_huge(void)
{
    const int64_t big = (int64_t)1 << 40, most = INT64_MAX;
    const struct {
        const char *kernel;
        size_t count;
        int64_t ints[19];
    } cases[] = {
        {"conv_output", 19, {2, 0, 1, 1, 1, big, big, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0}},
        {"conv_output_naive", 19, {2, 0, 1, 1, 1, big, big, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0}},
        {"conv_input_grad", 19, {2, 0, 1, 1, 1, big, big, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 1}},
        {"matmul_output", 6, {0, most, 0, 0, 0, 0}},
        {"matmul_output", 6, {most, 0, 0, 0, 0, 0}},
        {"matmul_output", 6, {big, big, 0, 0, 0, 0}},
        {"matmul_output", 6, {0, big, big, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const gcam_kernel *kernel = &gcam_kernels[gcam_kernel_find(cases[i].kernel)];
        void *geom = gcam_malloc(kernel->geom_bytes);
        gcam_operands operands;
        memset(&operands, 0, sizeof operands);
        const gcam_attributes attributes = {cases[i].ints, cases[i].count, NULL, 0, GCAM_F32, {6, 16, 16}, 1};
        check(kernel->init(geom, &attributes, &operands) == GCAM_E_SIZE, "empty but huge", cases[i].kernel);
        gcam_free(geom);
    }
}

typedef struct {
    gcam_barrier barrier;
    atomic_int arrived;
    atomic_int early;
} meeting;

static void
meet(void *context, int worker, int workers)
{
    meeting *m = context;
    (void)worker;
    for (int round = 1; round <= 2000; round++) {
        atomic_fetch_add(&m->arrived, 1);
        gcam_barrier_wait(&m->barrier, workers);
        if (atomic_load(&m->arrived) < round * workers) {
            atomic_fetch_add(&m->early, 1);
        }
        gcam_barrier_wait(&m->barrier, workers);
    }
}

static void
test_base(void)
{
    size_t result;
    check(!gcam_size_mul((size_t)1 << 32, (size_t)1 << 32, &result), "sizes", "2^64");
    check(!gcam_size_mul((size_t)1 << 32, (size_t)1 << 31, &result), "sizes", "2^63");
    check(gcam_size_mul((size_t)1 << 31, (size_t)1 << 31, &result), "sizes", "2^62");
    check(!gcam_size_add((size_t)PTRDIFF_MAX, 1, &result), "sizes", "sum");
    meeting m = {.arrived = 0};
    gcam_barrier_init(&m.barrier);
    gcam_parallel_run(meet, &m, 4);
    check(atomic_load(&m.early) == 0, "barrier", "4 workers");
    for (int successes = 0; successes < 3; successes++) {
        gcam_plan plan;
        gcam_malloc_fail_after(successes);
        check(gcam_plan_create(&plan, GCAM_F32, 0, 3, 3, 64) == GCAM_E_NO_MEMORY, "plan", "out of memory");
    }
    gcam_malloc_fail_after(-1);
    for (int status = 0; status < GCAM_STATUS_COUNT; status++) {
        check(gcam_status_text((gcam_status)status)[0] != '\0', "status", "text");
    }
}

int
main(void)
{
    test_base();
    test_hostile_attributes();
    test_empty_but_huge();
    for (int isa = 0; isa < gcam_isa_count; isa++) {
        if (gcam_isa_find(gcam_isas[isa]->name) >= 0) {
            for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
                test_convolution(convolutions[i], isa);
            }
            test_projections(isa);
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
