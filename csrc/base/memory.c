#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/sizes.h"

static atomic_int countdown = -1;

void
gcam_malloc_fail_after(int successes)
{
    atomic_store(&countdown, successes);
}

void *
gcam_malloc(size_t bytes)
{
    if (atomic_load_explicit(&countdown, memory_order_relaxed) >= 0 && atomic_fetch_sub(&countdown, 1) == 0) {
        return NULL;
    }
    size_t rounded;
    if (!gcam_size_round_up(bytes > 0 ? bytes : 1, GCAM_ALIGNMENT, &rounded)) {
        return NULL;
    }
    return aligned_alloc(GCAM_ALIGNMENT, rounded);
}

void
gcam_free(void *block)
{
    free(block);
}
