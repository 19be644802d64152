/* The library's allocator: 64-byte aligned blocks, and a countdown that lets a test fail the n-th allocation. */
#ifndef GCAM_BASE_MEMORY_H
#define GCAM_BASE_MEMORY_H

#include <stddef.h>

#define GCAM_ALIGNMENT ((size_t)64)

/* NULL when memory is short; free with gcam_free. A request of 0 bytes gives a block that must be freed too. */
void *gcam_malloc(size_t bytes);
void gcam_free(void *block);

/* Test only: the allocation after `successes` more of them fails, once; a negative number switches it off. */
void gcam_malloc_fail_after(int successes);

#endif
