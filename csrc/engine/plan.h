/* A plan: the steps that compute one picture, and the run of a plan over any number of pictures.
 *
 * A step names a kernel, holds its geometry, and says which buffers it reads and writes. A buffer lies in the arena
 * (scratch memory of one run), is a constant of the plan, or belongs to the caller (an input or an output, with one
 * block per picture). gcam_plan_* check every step against its kernel's geometry, so a finished plan cannot read or
 * write outside its buffers whatever the compiler above it did. Plans are read-only once built. */
#ifndef GCAM_ENGINE_PLAN_H
#define GCAM_ENGINE_PLAN_H

#include <stdbool.h>

#include "base/kernel.h"

typedef enum { GCAM_IN_ARENA, GCAM_CONSTANT, GCAM_INPUT, GCAM_OUTPUT } gcam_place;

typedef struct {
    gcam_place place;
    gcam_kind kind;
    size_t elements;  /* of one picture */
    size_t offset;    /* arena: in bytes, a multiple of GCAM_ALIGNMENT */
    size_t slot;      /* input, output: which one */
    const void *data; /* constant: its elements, kept alive by the owner of the plan */
} gcam_buffer;

typedef struct {
    int kernel;
    size_t geom_offset;                             /* into the plan's geometry block */
    int in[GCAM_MAX_INPUTS], out[GCAM_MAX_OUTPUTS]; /* buffer numbers; -1: absent */
} gcam_step;

typedef struct {
    gcam_dtype dtype;
    int isa;
    size_t step_count, step_capacity, buffer_count, input_count, output_count;
    gcam_step *steps;
    gcam_buffer *buffers;
    unsigned char *geometry;
    size_t geometry_bytes; /* of one step */
    size_t arena_bytes;    /* of one picture */
    size_t scratch_bytes;  /* of one worker */
} gcam_plan;

/* Attributes of the step to add; in and out hold buffer numbers for the kernel's operands. */
typedef struct {
    int kernel;
    gcam_attributes attributes; /* of the dtype and level are filled in */
    int in[GCAM_MAX_INPUTS], out[GCAM_MAX_OUTPUTS];
} gcam_step_spec;

/* An empty plan with room for so many steps and buffers; the caller fills `buffers` before adding steps. */
gcam_status gcam_plan_create(gcam_plan *plan, gcam_dtype dtype, int isa, size_t steps, size_t buffers,
                             size_t arena_bytes);
gcam_status gcam_plan_check_buffers(gcam_plan *plan);
gcam_status gcam_plan_add(gcam_plan *plan, const gcam_step_spec *spec);
void gcam_plan_destroy(gcam_plan *plan);

size_t gcam_element_bytes(gcam_dtype dtype, gcam_kind kind);

typedef struct {
    const gcam_plan *plan;
    ptrdiff_t pictures;
    int workers;
    const void *const *inputs; /* one pointer per input, and the bytes from picture to picture (0: shared) */
    const ptrdiff_t *input_steps;
    void *const *outputs;
    const ptrdiff_t *output_steps;
    int (*poll)(void *context); /* called on the caller's thread about every 50 ms; non-zero stops the run */
    void *poll_context;
    void *
        memory; /* of gcam_run_bytes bytes at least, aligned to GCAM_ALIGNMENT; NULL: taken and given back by the run */
} gcam_run;

/* Bytes that a run takes beside the caller's arrays. */
gcam_status gcam_run_bytes(const gcam_run *run, size_t *bytes);

/* Pictures side by side on the workers while there are as many as workers, the rest one by one with all workers.
 * GCAM_E_INTERRUPTED when poll stopped it, GCAM_E_NO_MEMORY before anything ran. */
gcam_status gcam_run_plan(const gcam_run *run);

#endif
