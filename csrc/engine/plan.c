#include "engine/plan.h"

#include <string.h>

#include "base/memory.h"
#include "dispatch/kernels.h"

#define GEOMETRY_ALIGNMENT ((size_t)16)

size_t
gcam_element_bytes(gcam_dtype dtype, gcam_kind kind)
{
    return kind == GCAM_BYTE                        ? sizeof(uint8_t)
           : kind == GCAM_BF16                      ? sizeof(uint16_t)
           : kind == GCAM_REAL && dtype == GCAM_F32 ? sizeof(float)
                                                    : sizeof(double);
}

gcam_status
gcam_plan_create(gcam_plan *plan, gcam_dtype dtype, int isa, size_t steps, size_t buffers, size_t arena_bytes)
{
    memset(plan, 0, sizeof *plan);
    plan->dtype = dtype;
    plan->isa = isa;
    plan->buffer_count = buffers;
    plan->arena_bytes = arena_bytes;
    size_t largest = 0;
    for (int k = 0; k < GCAM_KERNEL_COUNT; k++) {
        largest = gcam_kernels[k].geom_bytes > largest ? gcam_kernels[k].geom_bytes : largest;
    }
    size_t each, step_bytes, buffer_bytes, geometry_bytes;
    if (!gcam_size_round_up(largest, GEOMETRY_ALIGNMENT, &each) || !gcam_size_mul(each, steps, &geometry_bytes)
        || !gcam_size_mul(sizeof(gcam_step), steps, &step_bytes)
        || !gcam_size_mul(sizeof(gcam_buffer), buffers, &buffer_bytes)) {
        return GCAM_E_SIZE;
    }
    plan->steps = gcam_malloc(step_bytes);
    plan->buffers = gcam_malloc(buffer_bytes);
    plan->geometry = gcam_malloc(geometry_bytes);
    plan->geometry_bytes = each;
    plan->step_capacity = steps;
    if (plan->steps == NULL || plan->buffers == NULL || plan->geometry == NULL) {
        gcam_plan_destroy(plan);
        return GCAM_E_NO_MEMORY;
    }
    return GCAM_OK;
}

void
gcam_plan_destroy(gcam_plan *plan)
{
    gcam_free(plan->steps);
    gcam_free(plan->buffers);
    gcam_free(plan->geometry);
    memset(plan, 0, sizeof *plan);
}

gcam_status
gcam_plan_check_buffers(gcam_plan *plan)
{
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const gcam_buffer *buffer = &plan->buffers[i];
        size_t bytes, end;
        if (!gcam_size_mul(buffer->elements, gcam_element_bytes(plan->dtype, buffer->kind), &bytes)) {
            return GCAM_E_SIZE;
        }
        if (buffer->place == GCAM_IN_ARENA
            && (buffer->offset % GCAM_ALIGNMENT != 0 || !gcam_size_add(buffer->offset, bytes, &end)
                || end > plan->arena_bytes)) {
            return GCAM_E_BUFFER;
        }
        if (buffer->place == GCAM_INPUT && buffer->slot >= plan->input_count) {
            plan->input_count = buffer->slot + 1;
        }
        if (buffer->place == GCAM_OUTPUT && buffer->slot >= plan->output_count) {
            plan->output_count = buffer->slot + 1;
        }
    }
    return GCAM_OK;
}

/* Operand `number` must be a buffer of exactly the expected size and kind, or absent where nothing is expected. */
static gcam_status
check_operand(const gcam_plan *plan, int number, size_t expected, gcam_kind kind, bool writes)
{
    if (number < 0) {
        return expected == 0 ? GCAM_OK : GCAM_E_BUFFER;
    }
    if ((size_t)number >= plan->buffer_count) {
        return GCAM_E_STEP;
    }
    const gcam_buffer *buffer = &plan->buffers[number];
    const bool writable = buffer->place == GCAM_IN_ARENA || buffer->place == GCAM_OUTPUT;
    return buffer->elements == expected && buffer->kind == kind && (writable || !writes) ? GCAM_OK : GCAM_E_BUFFER;
}

gcam_status
gcam_plan_add(gcam_plan *plan, const gcam_step_spec *spec)
{
    if (spec->kernel < 0 || spec->kernel >= GCAM_KERNEL_COUNT || plan->step_count == plan->step_capacity) {
        return GCAM_E_STEP;
    }
    const gcam_kernel *kernel = &gcam_kernels[spec->kernel];
    gcam_step *step = &plan->steps[plan->step_count];
    step->kernel = spec->kernel;
    step->geom_offset = plan->step_count * plan->geometry_bytes; /* create() proved that this does not overflow */
    gcam_attributes attributes = spec->attributes;
    gcam_isa_describe(plan->isa, plan->dtype, &attributes);
    gcam_operands operands;
    memset(&operands, 0, sizeof operands);
    GCAM_TRY(kernel->init(plan->geometry + step->geom_offset, &attributes, &operands));
    for (int i = 0; i < kernel->inputs; i++) {
        step->in[i] = spec->in[i];
        GCAM_TRY(check_operand(plan, spec->in[i], operands.in[i], operands.in_kind[i], false));
    }
    for (int i = 0; i < kernel->outputs; i++) {
        step->out[i] = spec->out[i];
        GCAM_TRY(check_operand(plan, spec->out[i], operands.out[i], operands.out_kind[i], true));
    }
    if (operands.scratch_bytes > plan->scratch_bytes) {
        plan->scratch_bytes = operands.scratch_bytes;
    }
    plan->step_count++;
    return GCAM_OK;
}
