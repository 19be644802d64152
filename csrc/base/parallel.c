#define _POSIX_C_SOURCE 200809L
#include "base/parallel.h"

#include <sched.h>
#include <unistd.h>

#ifdef GCAM_OPENMP
#include <omp.h>
#define GCAM_PRAGMA(text) _Pragma(#text)
#else
#define GCAM_PRAGMA(text)
#endif

#if defined(__x86_64__) || defined(__i386__)
#define gcam_cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define gcam_cpu_relax() __asm__ volatile("isb" ::: "memory") /* `yield` does nothing on most cores */
#else
#define gcam_cpu_relax() atomic_signal_fence(memory_order_seq_cst)
#endif

/* Spins before a waiting worker gives its core away: about 30 us. */
#define GCAM_BARRIER_SPINS 1500

#ifdef GCAM_OPENMP
/* libgomp keeps its team after a region. A child forked then would wait for threads that it does not have, so the
 * process that opened a team is remembered and any other one stays serial. */
static atomic_int team_pid;
static atomic_int running_regions;
#endif

int
gcam_parallel_limit(void)
{
#ifdef GCAM_OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

bool
gcam_parallel_available(void)
{
#ifdef GCAM_OPENMP
    return true;
#else
    return false;
#endif
}

#ifdef GCAM_OPENMP
static bool
may_open_team(void)
{
    const int owner = atomic_load(&team_pid);
    return !omp_in_parallel() && (owner == 0 || owner == (int)getpid());
}
#endif

void
gcam_parallel_run(gcam_task task, void *context, int workers)
{
#ifdef GCAM_OPENMP
    if (workers > 1 && may_open_team()) {
        atomic_store(&team_pid, (int)getpid());
        atomic_fetch_add(&running_regions, 1);
        GCAM_PRAGMA(omp parallel num_threads(workers))
        {
            task(context, omp_get_thread_num(), omp_get_num_threads());
        }
        atomic_fetch_sub(&running_regions, 1);
        return;
    }
#endif
    (void)workers;
    task(context, 0, 1);
}

void
gcam_parallel_before_fork(void)
{
#if defined(GCAM_OPENMP) && defined(_OPENMP) && _OPENMP >= 201811 && defined(__GNUC__) && !defined(__clang__)
    if (atomic_load(&running_regions) == 0 && atomic_load(&team_pid) == (int)getpid()
        && omp_pause_resource_all(omp_pause_hard) == 0) {
        atomic_store(&team_pid, 0);
    }
#endif
}

void
gcam_barrier_init(gcam_barrier *barrier)
{
    atomic_init(&barrier->arrived, 0);
    atomic_init(&barrier->generation, 0);
}

void
gcam_barrier_wait(gcam_barrier *barrier, int workers)
{
    if (workers == 1) {
        return;
    }
    const int generation = atomic_load_explicit(&barrier->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) == workers - 1) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->generation, generation + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&barrier->generation, memory_order_acquire) == generation; spins++) {
        if (spins < GCAM_BARRIER_SPINS) {
            gcam_cpu_relax();
        } else {
            sched_yield();
        }
    }
}
