/* One call of a kernel on several workers. */
#ifndef GCAM_TESTS_CALL_H
#define GCAM_TESTS_CALL_H

#include "base/kernel.h"

typedef struct {
    gcam_compute compute;
    const void *geom;
    const void *in[GCAM_MAX_INPUTS];
    void *out[GCAM_MAX_OUTPUTS];
    unsigned char *scratch;
    size_t scratch_bytes;
} call;

static inline void
run_call(void *context, int worker, int workers)
{
    const call *c = context;
    c->compute(c->geom, c->in, c->out, c->scratch + (size_t)worker * c->scratch_bytes, worker, workers);
}

#endif
