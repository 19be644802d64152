/* Kernels and plans for a process that runs on another CPU: the C core without Python, told what to do on its standard
 * input by tests/remote.py. The process ends with its input. */
#include <stdbool.h>

#include "base/parallel.h"
#include "call.h"
#include "dispatch/kernels.h"
#include "engine/plan.h"
#include "messages.h"

enum { LEVELS, OPERANDS, CALL, PLAN, RUN, RUN_BYTES, FREE };

#define MOST_PLANS 4096

static int
get_kernel(void)
{
    char name[64];
    get_text(name, sizeof name);
    return gcam_kernel_find(name);
}

static gcam_attributes
get_attributes(void)
{
    gcam_attributes attributes = {.int_count = get_count()};
    int64_t *ints = allocate(attributes.int_count * sizeof *ints);
    get(ints, attributes.int_count * sizeof *ints);
    attributes.real_count = get_count();
    double *reals = allocate(attributes.real_count * sizeof *reals);
    get(reals, attributes.real_count * sizeof *reals);
    attributes.ints = ints;
    attributes.reals = reals;
    return attributes;
}

static void
free_attributes(const gcam_attributes *attributes)
{
    gcam_free((void *)(uintptr_t)attributes->ints);
    gcam_free((void *)(uintptr_t)attributes->reals);
}

/* --- one kernel */

/* How many operands come, which must be the kernel's own numbers of them. */
static void
check_operand_counts(const gcam_kernel *kernel)
{
    const int64_t inputs = get_int(), outputs = get_int();
    if (inputs != kernel->inputs || outputs != kernel->outputs) {
        end("another number of operands than the kernel has");
    }
}

typedef struct {
    int kernel, isa;
    gcam_dtype dtype;
    void *geom;
    gcam_operands operands;
    gcam_status status;
} prepared;

static prepared
get_prepared(void)
{
    char level[16];
    prepared p = {.kernel = get_kernel()};
    get_text(level, sizeof level);
    p.isa = gcam_isa_find(level);
    p.dtype = (gcam_dtype)get_int();
    if (p.kernel < 0 || p.isa < 0 || p.dtype >= GCAM_DTYPES) {
        end("no such kernel, level or type");
    }
    gcam_attributes attributes = get_attributes();
    gcam_isa_describe(p.isa, p.dtype, &attributes);
    p.geom = allocate(gcam_kernels[p.kernel].geom_bytes);
    p.status = gcam_kernels[p.kernel].init(p.geom, &attributes, &p.operands);
    free_attributes(&attributes);
    return p;
}

static void
do_operands(void)
{
    const prepared p = get_prepared();
    put_int(p.status);
    put_int(gcam_kernels[p.kernel].inputs);
    put_int(gcam_kernels[p.kernel].outputs);
    for (int i = 0; i < gcam_kernels[p.kernel].inputs; i++) {
        put_int((int64_t)p.operands.in[i]);
    }
    for (int i = 0; i < gcam_kernels[p.kernel].outputs; i++) {
        put_int((int64_t)p.operands.out[i]);
    }
    gcam_free(p.geom);
}

static void
do_call(void)
{
    prepared p = get_prepared();
    const gcam_kernel *kernel = &gcam_kernels[p.kernel];
    check_operand_counts(kernel);
    const int workers = (int)get_int();
    arrays all = get_arrays();
    call c = {.compute = gcam_isas[p.isa]->compute[p.kernel][p.dtype], .geom = p.geom};
    size_t bytes, out_bytes[GCAM_MAX_OUTPUTS];
    for (int i = 0; i < kernel->inputs; i++) {
        c.in[i] = get_operand(&all, &bytes);
        if (p.status == GCAM_OK && bytes != p.operands.in[i] * gcam_element_bytes(p.dtype, p.operands.in_kind[i])) {
            p.status = GCAM_E_BUFFER;
        }
    }
    for (int i = 0; i < kernel->outputs; i++) {
        c.out[i] = get_operand(&all, &out_bytes[i]);
        if (p.status == GCAM_OK
            && out_bytes[i] != p.operands.out[i] * gcam_element_bytes(p.dtype, p.operands.out_kind[i])) {
            p.status = GCAM_E_BUFFER;
        }
    }
    put_int(p.status);
    if (p.status == GCAM_OK) {
        if (!gcam_size_round_up(p.operands.scratch_bytes, GCAM_ALIGNMENT, &c.scratch_bytes)) {
            end("too much scratch memory");
        }
        c.scratch = allocate(c.scratch_bytes * (size_t)workers);
        gcam_parallel_run(run_call, &c, workers);
        gcam_free(c.scratch);
        for (int i = 0; i < kernel->outputs; i++) {
            put(c.out[i], out_bytes[i]);
        }
    }
    free_arrays(&all);
    gcam_free(p.geom);
}

/* --- plans, by number */

static struct {
    bool used;
    gcam_plan plan;
    arrays constants;
} plans[MOST_PLANS];

static size_t
get_plan(void)
{
    const size_t number = get_count();
    if (number >= MOST_PLANS || !plans[number].used) {
        end("no such plan");
    }
    return number;
}

static void
get_buffer(const arrays *constants, gcam_buffer *buffer)
{
    memset(buffer, 0, sizeof *buffer);
    buffer->place = (gcam_place)get_int();
    buffer->kind = (gcam_kind)get_int();
    buffer->elements = get_count();
    if (buffer->place == GCAM_CONSTANT) {
        size_t bytes;
        buffer->data = get_operand(constants, &bytes);
    } else {
        buffer->offset = buffer->slot = get_count();
    }
}

static gcam_status
get_step(gcam_plan *plan)
{
    gcam_step_spec spec = {.kernel = get_kernel()};
    if (spec.kernel < 0) {
        end("no such kernel");
    }
    spec.attributes = get_attributes();
    check_operand_counts(&gcam_kernels[spec.kernel]);
    for (int i = 0; i < gcam_kernels[spec.kernel].inputs; i++) {
        spec.in[i] = (int)get_int();
    }
    for (int i = 0; i < gcam_kernels[spec.kernel].outputs; i++) {
        spec.out[i] = (int)get_int();
    }
    const gcam_status status = gcam_plan_add(plan, &spec);
    free_attributes(&spec.attributes);
    return status;
}

static void
do_plan(void)
{
    size_t number = 0;
    while (number < MOST_PLANS && plans[number].used) {
        number++;
    }
    if (number == MOST_PLANS) {
        end("too many plans");
    }
    char level[16];
    get_text(level, sizeof level);
    const gcam_dtype dtype = (gcam_dtype)get_int();
    const size_t arena_bytes = get_count(), buffers = get_count(), steps = get_count();
    gcam_plan *plan = &plans[number].plan;
    if (gcam_plan_create(plan, dtype, gcam_isa_find(level), steps, buffers, arena_bytes) != GCAM_OK || plan->isa < 0) {
        end("no such level or no memory");
    }
    plans[number].used = true;
    plans[number].constants = get_arrays();
    for (size_t i = 0; i < buffers; i++) {
        get_buffer(&plans[number].constants, &plan->buffers[i]);
    }
    gcam_status status = gcam_plan_check_buffers(plan);
    for (size_t i = 0; i < steps; i++) {
        const gcam_status added = get_step(plan);
        status = status == GCAM_OK ? added : status;
    }
    put_int(status);
    put_int((int64_t)number);
}

/* The caller's arrays for the buffers in `place`, and the bytes from picture to picture. */
static void
get_operands(const gcam_plan *plan, const arrays *all, gcam_place place, size_t pictures, void **data, ptrdiff_t *steps,
             size_t *bytes)
{
    const size_t count = place == GCAM_INPUT ? plan->input_count : plan->output_count;
    for (size_t slot = 0; slot < count; slot++) {
        data[slot] = get_operand(all, &bytes[slot]);
    }
    for (size_t b = 0; b < plan->buffer_count; b++) {
        const gcam_buffer *buffer = &plan->buffers[b];
        if (buffer->place == place) {
            const size_t each = buffer->elements * gcam_element_bytes(plan->dtype, buffer->kind);
            const bool shared = place == GCAM_INPUT && bytes[buffer->slot] == each;
            if (!shared && bytes[buffer->slot] != each * pictures) {
                end("an array of another size than its buffer");
            }
            steps[buffer->slot] = shared ? 0 : (ptrdiff_t)each;
        }
    }
}

static void
do_run(void)
{
    const gcam_plan *plan = &plans[get_plan()].plan;
    const size_t pictures = get_count(), workers = get_count();
    arrays all = get_arrays();
    const size_t slots = plan->input_count + plan->output_count;
    void **data = allocate(slots * sizeof *data), **outputs = data + plan->input_count;
    ptrdiff_t *steps = allocate(slots * sizeof *steps);
    size_t *bytes = allocate(slots * sizeof *bytes);
    get_operands(plan, &all, GCAM_INPUT, pictures, data, steps, bytes);
    get_operands(plan, &all, GCAM_OUTPUT, pictures, outputs, steps + plan->input_count, bytes + plan->input_count);
    const gcam_run run = {
        .plan = plan,
        .pictures = (ptrdiff_t)pictures,
        .workers = (int)workers,
        .inputs = (const void *const *)data,
        .input_steps = steps,
        .outputs = outputs,
        .output_steps = steps + plan->input_count,
    };
    put_int(gcam_run_plan(&run));
    for (size_t slot = 0; slot < plan->output_count; slot++) {
        put(outputs[slot], bytes[plan->input_count + slot]);
    }
    gcam_free(data);
    gcam_free(steps);
    gcam_free(bytes);
    free_arrays(&all);
}

static void
do_run_bytes(void)
{
    gcam_run run = {.plan = &plans[get_plan()].plan};
    run.pictures = get_int();
    run.workers = (int)get_int();
    size_t bytes = 0;
    put_int(gcam_run_bytes(&run, &bytes));
    put_int((int64_t)bytes);
}

static void
do_free(void)
{
    const size_t number = get_plan();
    gcam_plan_destroy(&plans[number].plan);
    free_arrays(&plans[number].constants);
    plans[number].used = false;
    put_int(GCAM_OK);
}

static void
do_levels(void)
{
    put_int(gcam_isa_count);
    for (int isa = 0; isa < gcam_isa_count; isa++) {
        const size_t length = strlen(gcam_isas[isa]->name);
        put_int((int64_t)length);
        put(gcam_isas[isa]->name, length);
    }
}

int
main(void)
{
    static void (*const actions[])(void) = {
        [LEVELS] = do_levels, [OPERANDS] = do_operands,   [CALL] = do_call, [PLAN] = do_plan,
        [RUN] = do_run,       [RUN_BYTES] = do_run_bytes, [FREE] = do_free,
    };
    int64_t action;
    while (fread(&action, sizeof action, 1, stdin) == 1) {
        if (action < 0 || action > FREE) {
            end("no such action");
        }
        actions[action]();
        fflush(stdout);
    }
    return 0;
}
