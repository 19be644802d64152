/* Parallel regions and the barrier inside them. The only file pair that names OpenMP. */
#ifndef GCAM_BASE_PARALLEL_H
#define GCAM_BASE_PARALLEL_H

#include <stdatomic.h>
#include <stdbool.h>

typedef void (*gcam_task)(void *context, int worker, int workers);

/* Threads that OpenMP would use by default, asked anew each time; 1 without OpenMP. */
int gcam_parallel_limit(void);
bool gcam_parallel_available(void);

/* Run task(context, worker, workers) on each worker of one region. The team may be smaller than `workers`
 * (thread limits, nested regions, a forked child): the task is told its true size. Worker 0 is the caller. */
void gcam_parallel_run(gcam_task task, void *context, int workers);

/* Give libgomp's threads back before a fork, so that the child may open regions of its own; does nothing while
 * a region runs (the child then works with one thread). */
void gcam_parallel_before_fork(void);

/* All of `workers` wait for each other. C11 atomics, so that no environment variable rules its waiting. */
typedef struct {
    atomic_int arrived;
    atomic_int generation;
} gcam_barrier;

void gcam_barrier_init(gcam_barrier *barrier);
void gcam_barrier_wait(gcam_barrier *barrier, int workers);

#endif
