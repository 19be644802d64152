#define _POSIX_C_SOURCE 200809L
#include <stdatomic.h>
#include <time.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "dispatch/kernels.h"
#include "engine/plan.h"

#define POLL_SECONDS 0.05
#define NEVER PTRDIFF_MAX

/* What the workers of one run share. */
typedef struct {
    const gcam_run *run;
    gcam_barrier barrier;
    /* The first moment (see `moment` below) after which nothing more is to run. Written by worker 0 before a barrier
     * and compared with the moment just passed, so that a worker which reads it late leaves at the same place. */
    _Atomic ptrdiff_t stop_after;
    double last_poll;
    unsigned char *arena;   /* one lane per picture in flight */
    unsigned char *scratch; /* one block per worker */
    size_t lane_bytes, scratch_bytes;
} gcam_shared;

static double
seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void
poll_caller(gcam_shared *shared, ptrdiff_t moment)
{
    if (shared->run->poll == NULL || atomic_load_explicit(&shared->stop_after, memory_order_relaxed) != NEVER) {
        return;
    }
    const double now = seconds();
    if (now - shared->last_poll >= POLL_SECONDS) {
        shared->last_poll = now;
        if (shared->run->poll(shared->run->poll_context) != 0) {
            atomic_store(&shared->stop_after, moment);
        }
    }
}

static unsigned char *
address(const gcam_shared *shared, int number, ptrdiff_t picture, size_t lane)
{
    const gcam_run *run = shared->run;
    const gcam_buffer *buffer = &run->plan->buffers[number];
    switch (buffer->place) {
    case GCAM_IN_ARENA:
        return shared->arena + lane * shared->lane_bytes + buffer->offset;
    case GCAM_INPUT:
        return (unsigned char *)(uintptr_t)run->inputs[buffer->slot] + picture * run->input_steps[buffer->slot];
    case GCAM_OUTPUT:
        return (unsigned char *)run->outputs[buffer->slot] + picture * run->output_steps[buffer->slot];
    case GCAM_CONSTANT:
    default:
        return (unsigned char *)(uintptr_t)buffer->data;
    }
}

static void
run_step(const gcam_shared *shared, const gcam_step *step, ptrdiff_t picture, size_t lane, int thread, int worker,
         int workers)
{
    const gcam_plan *plan = shared->run->plan;
    const gcam_kernel *kernel = &gcam_kernels[step->kernel];
    const void *in[GCAM_MAX_INPUTS];
    void *out[GCAM_MAX_OUTPUTS];
    for (int i = 0; i < kernel->inputs; i++) {
        in[i] = step->in[i] < 0 ? NULL : address(shared, step->in[i], picture, lane);
    }
    for (int i = 0; i < kernel->outputs; i++) {
        out[i] = step->out[i] < 0 ? NULL : address(shared, step->out[i], picture, lane);
    }
    gcam_isas[plan->isa]->compute[step->kernel][plan->dtype](plan->geometry + step->geom_offset, in, out,
                                                             shared->scratch + (size_t)thread * shared->scratch_bytes,
                                                             worker, workers);
}

/* Pictures worker, worker + workers, ...: each on one worker, without barriers. */
static void
run_side_by_side(gcam_shared *shared, ptrdiff_t pictures, int worker, int workers)
{
    const gcam_plan *plan = shared->run->plan;
    for (ptrdiff_t picture = worker; picture < pictures; picture += workers) {
        for (size_t s = 0; s < plan->step_count; s++) {
            if (worker == 0) {
                poll_caller(shared, 0);
            }
            if (atomic_load_explicit(&shared->stop_after, memory_order_relaxed) != NEVER) {
                return;
            }
            run_step(shared, &plan->steps[s], picture, (size_t)worker, worker, 0, 1);
        }
    }
}

/* The remaining pictures one by one, all workers on each step; a barrier ends each step. */
static void
run_together(gcam_shared *shared, ptrdiff_t first, int worker, int workers)
{
    const gcam_plan *plan = shared->run->plan;
    ptrdiff_t moment = 1;
    for (ptrdiff_t picture = first; picture < shared->run->pictures; picture++) {
        for (size_t s = 0; s < plan->step_count; s++, moment++) {
            run_step(shared, &plan->steps[s], picture, 0, worker, worker, workers);
            if (worker == 0) {
                poll_caller(shared, moment);
            }
            gcam_barrier_wait(&shared->barrier, workers);
            if (atomic_load(&shared->stop_after) <= moment) {
                return;
            }
        }
    }
}

static void
run_task(void *context, int worker, int workers)
{
    gcam_shared *shared = context;
    const ptrdiff_t pictures = shared->run->pictures;
    /* Compared with the workers asked for, not with the team that came: the lanes were counted so. */
    const ptrdiff_t side_by_side = pictures >= shared->run->workers ? pictures / workers * workers : 0;
    run_side_by_side(shared, side_by_side, worker, workers);
    gcam_barrier_wait(&shared->barrier, workers); /* lane 0 is free, and all have seen whether to stop */
    if (atomic_load(&shared->stop_after) > 0) {
        run_together(shared, side_by_side, worker, workers);
    }
}

static gcam_status
lane_sizes(const gcam_run *run, size_t *lane_bytes, size_t *lanes_bytes, size_t *scratch_bytes, size_t *bytes)
{
    const size_t workers = (size_t)run->workers;
    const size_t lanes = run->pictures >= run->workers ? workers : 1;
    size_t all_scratch;
    if (!gcam_size_round_up(run->plan->arena_bytes, GCAM_ALIGNMENT, lane_bytes)
        || !gcam_size_mul(*lane_bytes, lanes, lanes_bytes)
        || !gcam_size_round_up(run->plan->scratch_bytes, GCAM_ALIGNMENT, scratch_bytes)
        || !gcam_size_mul(*scratch_bytes, workers, &all_scratch) || !gcam_size_add(*lanes_bytes, all_scratch, bytes)) {
        return GCAM_E_SIZE;
    }
    return GCAM_OK;
}

gcam_status
gcam_run_bytes(const gcam_run *run, size_t *bytes)
{
    size_t lane, lanes, scratch;
    return lane_sizes(run, &lane, &lanes, &scratch, bytes);
}

gcam_status
gcam_run_plan(const gcam_run *run)
{
    gcam_shared shared = {.run = run};
    size_t lanes, bytes;
    GCAM_TRY(lane_sizes(run, &shared.lane_bytes, &lanes, &shared.scratch_bytes, &bytes));
    unsigned char *block = run->memory == NULL ? gcam_malloc(bytes) : run->memory;
    if (block == NULL) {
        return GCAM_E_NO_MEMORY;
    }
    shared.arena = block;
    shared.scratch = block + lanes;
    shared.last_poll = seconds();
    gcam_barrier_init(&shared.barrier);
    atomic_init(&shared.stop_after, NEVER);
    gcam_parallel_run(run_task, &shared, run->workers);
    if (block != run->memory) {
        gcam_free(block);
    }
    return atomic_load(&shared.stop_after) == NEVER ? GCAM_OK : GCAM_E_INTERRUPTED;
}
