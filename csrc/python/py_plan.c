/* The Plan type: a gcam_plan with its constants kept alive. */
#include "python/pygcam.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "dispatch/kernels.h"
#include "engine/plan.h"

/* What a run left for the next one: this head, then memory. */
typedef struct {
    alignas(GCAM_ALIGNMENT) size_t bytes;
} kept_memory;

typedef struct {
    PyObject_HEAD gcam_plan plan;
    PyObject *buffers; /* the tuple given, which holds the constant arrays */
    atomic_bool keeps;
    _Atomic(kept_memory *) kept; /* NULL while a run has it */
} PlanObject;

/* One buffer from (place, kind, elements, offset | slot | array). */
static int
take_buffer(PyObject *item, gcam_dtype dtype, gcam_buffer *buffer)
{
    int place, kind;
    Py_ssize_t elements;
    PyObject *detail;
    if (pygcam_tuple(item, "buffers") == NULL || !PyArg_ParseTuple(item, "iinO", &place, &kind, &elements, &detail)) {
        return -1;
    }
    if (place < GCAM_IN_ARENA || place > GCAM_OUTPUT || kind < GCAM_REAL || kind >= GCAM_KINDS || elements < 0) {
        PyErr_SetString(PyExc_ValueError, "buffers: expected (place, kind, elements, detail)");
        return -1;
    }
    memset(buffer, 0, sizeof *buffer);
    buffer->place = (gcam_place)place;
    buffer->kind = (gcam_kind)kind;
    buffer->elements = (size_t)elements;
    if (place == GCAM_CONSTANT) {
        void *data;
        size_t found;
        if (pygcam_array(detail, dtype, buffer->kind, 0, "buffers", &data, &found) < 0) {
            return -1;
        }
        if (found != buffer->elements) {
            PyErr_SetString(PyExc_ValueError, "buffers: expected a constant of the stated size");
            return -1;
        }
        buffer->data = data;
        return 0;
    }
    const size_t number = PyLong_AsSize_t(detail);
    if (number == (size_t)-1 && PyErr_Occurred()) {
        return -1;
    }
    if (place == GCAM_IN_ARENA) {
        buffer->offset = number;
    } else if (number < 1024) {
        buffer->slot = number;
    } else {
        PyErr_SetString(PyExc_ValueError, "buffers: expected a slot below 1024");
        return -1;
    }
    return 0;
}

static int
take_operands(PyObject *numbers, int expected, int *values)
{
    if (pygcam_tuple(numbers, "steps") == NULL) {
        return -1;
    }
    if (PyTuple_GET_SIZE(numbers) != expected) {
        PyErr_SetString(PyExc_ValueError, "steps: expected as many operands as the kernel has");
        return -1;
    }
    for (int i = 0; i < expected; i++) {
        const Py_ssize_t value = PyLong_AsSsize_t(PyTuple_GET_ITEM(numbers, i));
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (value < -1 || value > INT_MAX) {
            PyErr_SetString(PyExc_ValueError, "steps: expected buffer numbers");
            return -1;
        }
        values[i] = (int)value;
    }
    return 0;
}

/* One step from (kernel, ints, reals, inputs, outputs). */
static int
take_step(PyObject *item, gcam_plan *plan)
{
    PyObject *name, *ints, *reals, *ins, *outs;
    gcam_step_spec spec;
    if (pygcam_tuple(item, "steps") == NULL || !PyArg_ParseTuple(item, "OOOOO", &name, &ints, &reals, &ins, &outs)
        || pygcam_kernel(name, &spec.kernel) < 0 || take_operands(ins, gcam_kernels[spec.kernel].inputs, spec.in) < 0
        || take_operands(outs, gcam_kernels[spec.kernel].outputs, spec.out) < 0
        || pygcam_attributes(ints, reals, &spec.attributes) < 0) {
        return -1;
    }
    const gcam_status status = gcam_plan_add(plan, &spec);
    pygcam_attributes_free(&spec.attributes);
    if (status != GCAM_OK) {
        pygcam_raise(gcam_kernels[spec.kernel].name, status);
        return -1;
    }
    return 0;
}

/* Plan(dtype, isa, arena_bytes, buffers, steps) */
static PyObject *
plan_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *dtype_name, *buffers, *steps;
    const char *isa_name;
    Py_ssize_t arena_bytes;
    gcam_dtype dtype;
    int isa;
    if (keywords != NULL && PyDict_GET_SIZE(keywords) > 0) {
        PyErr_SetString(PyExc_TypeError, "Plan: takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "OsnO!O!", &dtype_name, &isa_name, &arena_bytes, &PyTuple_Type, &buffers,
                          &PyTuple_Type, &steps)
        || pygcam_dtype(dtype_name, &dtype) < 0 || pygcam_isa(isa_name, &isa) < 0) {
        return NULL;
    }
    if (arena_bytes < 0) {
        PyErr_SetString(PyExc_ValueError, "arena_bytes: expected a size");
        return NULL;
    }
    PlanObject *self = (PlanObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    const Py_ssize_t buffer_count = PyTuple_GET_SIZE(buffers), step_count = PyTuple_GET_SIZE(steps);
    gcam_status status =
        gcam_plan_create(&self->plan, dtype, isa, (size_t)step_count, (size_t)buffer_count, (size_t)arena_bytes);
    if (status != GCAM_OK) {
        pygcam_raise("Plan", status);
        goto fail;
    }
    self->buffers = Py_NewRef(buffers);
    for (Py_ssize_t i = 0; i < buffer_count; i++) {
        if (take_buffer(PyTuple_GET_ITEM(buffers, i), dtype, &self->plan.buffers[i]) < 0) {
            goto fail;
        }
    }
    status = gcam_plan_check_buffers(&self->plan);
    if (status != GCAM_OK) {
        pygcam_raise("Plan", status);
        goto fail;
    }
    for (Py_ssize_t i = 0; i < step_count; i++) {
        if (take_step(PyTuple_GET_ITEM(steps, i), &self->plan) < 0) {
            goto fail;
        }
    }
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

static void
plan_dealloc(PyObject *object)
{
    PlanObject *self = (PlanObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    gcam_plan_destroy(&self->plan);
    gcam_free(atomic_load(&self->kept));
    Py_XDECREF(self->buffers);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Workers poll on the thread that holds this state while the interpreter lock is released. */
static int
poll_signals(void *context)
{
    PyThreadState **thread_state = context;
    PyEval_RestoreThread(*thread_state);
    const int stop = PyErr_CheckSignals();
    *thread_state = PyEval_SaveThread();
    return stop;
}

/* Pointers and picture steps of the caller's arrays. An array of one block serves all pictures where it is read. */
static int
take_arrays(const gcam_plan *plan, PyObject *arrays, gcam_place place, ptrdiff_t pictures, const char *argument,
            void **data, ptrdiff_t *steps)
{
    const size_t expected = place == GCAM_INPUT ? plan->input_count : plan->output_count;
    if ((size_t)PyTuple_GET_SIZE(arrays) != expected) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zu arrays, got %zd", argument, expected,
                     PyTuple_GET_SIZE(arrays));
        return -1;
    }
    for (size_t b = 0; b < plan->buffer_count; b++) {
        const gcam_buffer *buffer = &plan->buffers[b];
        if (buffer->place != place) {
            continue;
        }
        size_t found, wanted;
        PyObject *array = PyTuple_GET_ITEM(arrays, (Py_ssize_t)buffer->slot);
        if (pygcam_array(array, plan->dtype, buffer->kind, place == GCAM_OUTPUT, argument, &data[buffer->slot], &found)
            < 0) {
            return -1;
        }
        const int fits = gcam_size_mul(buffer->elements, (size_t)pictures, &wanted);
        if (fits && found == wanted) {
            steps[buffer->slot] = (ptrdiff_t)(buffer->elements * gcam_element_bytes(plan->dtype, buffer->kind));
        } else if (place == GCAM_INPUT && found == buffer->elements) {
            steps[buffer->slot] = 0;
        } else {
            PyErr_Format(PyExc_ValueError, "%s: array %zu: expected %zu elements for each of %zd pictures, got %zu",
                         argument, buffer->slot, buffer->elements, pictures, found);
            return -1;
        }
    }
    return 0;
}

/* Memory for a run: what an earlier one left if it is enough, which no other run finds then, else new. */
static kept_memory *
take_memory(PlanObject *self, const gcam_run *run)
{
    size_t bytes, all;
    kept_memory *kept = atomic_exchange(&self->kept, NULL);
    if (gcam_run_bytes(run, &bytes) != GCAM_OK || !gcam_size_add(bytes, sizeof *kept, &all)) {
        bytes = all = SIZE_MAX;
    }
    if (kept == NULL || kept->bytes < bytes) {
        gcam_free(kept);
        kept = gcam_malloc(all);
        if (kept != NULL) {
            kept->bytes = bytes;
        }
    }
    return kept;
}

/* run(inputs, outputs, pictures, workers, poll) -> None */
static PyObject *
plan_run(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    PlanObject *self = (PlanObject *)object;
    if (count != 5) {
        return PyErr_Format(PyExc_TypeError, "run: expected 5 arguments, got %zd", count);
    }
    PyObject *inputs = pygcam_tuple(arguments[0], "inputs"), *outputs = pygcam_tuple(arguments[1], "outputs");
    const Py_ssize_t pictures = PyLong_AsSsize_t(arguments[2]), workers = PyLong_AsSsize_t(arguments[3]);
    const int poll = PyObject_IsTrue(arguments[4]);
    if (inputs == NULL || outputs == NULL || poll < 0 || PyErr_Occurred()) {
        return NULL;
    }
    if (pictures < 1 || workers < 1 || workers > 4096) {
        return PyErr_Format(PyExc_ValueError, "run: expected pictures >= 1 and workers in 1..4096");
    }
    const size_t slots = self->plan.input_count + self->plan.output_count;
    void **data = gcam_malloc(slots * sizeof *data);
    ptrdiff_t *steps = gcam_malloc(slots * sizeof *steps);
    PyObject *result = NULL;
    if (data == NULL || steps == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    memset(data, 0, slots * sizeof *data);
    memset(steps, 0, slots * sizeof *steps);
    void **output_data = data + self->plan.input_count;
    ptrdiff_t *output_steps = steps + self->plan.input_count;
    if (take_arrays(&self->plan, inputs, GCAM_INPUT, pictures, "inputs", data, steps) < 0
        || take_arrays(&self->plan, outputs, GCAM_OUTPUT, pictures, "outputs", output_data, output_steps) < 0) {
        goto done;
    }
    PyThreadState *thread_state = NULL;
    gcam_run run = {
        .plan = &self->plan,
        .pictures = pictures,
        .workers = (int)workers,
        .inputs = (const void *const *)data,
        .input_steps = steps,
        .outputs = output_data,
        .output_steps = output_steps,
        .poll = poll ? poll_signals : NULL,
        .poll_context = &thread_state,
    };
    kept_memory *kept = NULL;
    if (atomic_load(&self->keeps)) {
        kept = take_memory(self, &run);
        if (kept == NULL) {
            PyErr_NoMemory();
            goto done;
        }
        run.memory = kept + 1;
    }
    thread_state = PyEval_SaveThread();
    const gcam_status status = gcam_run_plan(&run);
    PyEval_RestoreThread(thread_state);
    if (kept != NULL) {
        gcam_free(atomic_exchange(&self->kept, kept));
    }
    result = status == GCAM_OK ? Py_NewRef(Py_None) : pygcam_raise("run", status);
done:
    gcam_free(data);
    gcam_free(steps);
    return result;
}

/* keep_memory() -> None: from now on a run leaves its memory to the next one: pages that were touched once are not
 * asked of the system, and cleared by it, again. */
static PyObject *
plan_keep_memory(PyObject *object, PyObject *unused)
{
    (void)unused;
    atomic_store(&((PlanObject *)object)->keeps, true);
    Py_RETURN_NONE;
}

/* run_bytes(pictures, workers) -> int: memory that a run takes beside the caller's arrays */
static PyObject *
plan_run_bytes(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    PlanObject *self = (PlanObject *)object;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "run_bytes: expected 2 arguments, got %zd", count);
    }
    const Py_ssize_t pictures = PyLong_AsSsize_t(arguments[0]), workers = PyLong_AsSsize_t(arguments[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    const gcam_run run = {.plan = &self->plan, .pictures = pictures, .workers = (int)workers};
    size_t bytes;
    const gcam_status status = workers < 1 || workers > 4096 ? GCAM_E_PARAMETER : gcam_run_bytes(&run, &bytes);
    return status == GCAM_OK ? PyLong_FromSize_t(bytes) : pygcam_raise("run_bytes", status);
}

static PyMethodDef plan_methods[] = {
    {"run", (PyCFunction)(void (*)(void))plan_run, METH_FASTCALL, "run(inputs, outputs, pictures, workers, poll)"},
    {"keep_memory", plan_keep_memory, METH_NOARGS, "keep_memory()"},
    {"run_bytes", (PyCFunction)(void (*)(void))plan_run_bytes, METH_FASTCALL, "run_bytes(pictures, workers)"},
    {NULL, NULL, 0, NULL},
};

/* ISO C has no conversion from a function to an object pointer; the slots of CPython need it. */
#define SLOT(function) ((void *)(uintptr_t)(function))

static PyType_Slot plan_slots[] = {
    {Py_tp_new, SLOT(plan_new)},
    {Py_tp_dealloc, SLOT(plan_dealloc)},
    {Py_tp_methods, plan_methods},
    {Py_tp_doc, "Plan(dtype, isa, arena_bytes, buffers, steps): steps that compute one picture"},
    {0, NULL},
};

PyType_Spec pygcam_plan_spec = {
    .name = "gradcam._core.Plan",
    .basicsize = sizeof(PlanObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};
