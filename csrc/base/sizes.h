/* Checked size arithmetic: the only place that multiplies or adds sizes. Results never exceed PTRDIFF_MAX. */
#ifndef GCAM_BASE_SIZES_H
#define GCAM_BASE_SIZES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool
gcam_size_mul(size_t a, size_t b, size_t *result)
{
    return !__builtin_mul_overflow(a, b, result) && *result <= (size_t)PTRDIFF_MAX;
}

static inline bool
gcam_size_add(size_t a, size_t b, size_t *result)
{
    return !__builtin_add_overflow(a, b, result) && *result <= (size_t)PTRDIFF_MAX;
}

/* Product of `count` non-negative sizes. */
static inline bool
gcam_size_product(const ptrdiff_t *sizes, size_t count, size_t *result)
{
    *result = 1;
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] < 0 || !gcam_size_mul(*result, (size_t)sizes[i], result)) {
            return false;
        }
    }
    return true;
}

/* Product of sizes as elements of an array, whose bytes fit whatever its type. */
static inline bool
gcam_size_elements(const ptrdiff_t *sizes, size_t count, size_t *elements)
{
    size_t bytes;
    return gcam_size_product(sizes, count, elements) && gcam_size_mul(*elements, sizeof(double), &bytes);
}

/* `size` rounded up to a multiple of `step` (a power of two). */
static inline bool
gcam_size_round_up(size_t size, size_t step, size_t *result)
{
    if (!gcam_size_add(size, step - 1, result)) {
        return false;
    }
    *result &= ~(step - 1);
    return true;
}

/* The part [*begin, *end) of `count` items that belongs to `worker`; parts differ by one item at the most. */
static inline void
gcam_share(ptrdiff_t count, int worker, int workers, ptrdiff_t *begin, ptrdiff_t *end)
{
    const ptrdiff_t each = count / workers, rest = count % workers;
    *begin = each * worker + (worker < rest ? worker : rest);
    *end = *begin + each + (worker < rest ? 1 : 0);
}

#endif
