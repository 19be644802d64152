/* One kernel on plain arrays. */
#include "python/pygcam.h"

#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "dispatch/kernels.h"

typedef struct {
    gcam_compute compute;
    const void *geom;
    const void *in[GCAM_MAX_INPUTS];
    void *out[GCAM_MAX_OUTPUTS];
    unsigned char *scratch;
    size_t scratch_bytes;
} kernel_call;

static void
call_task(void *context, int worker, int workers)
{
    const kernel_call *call = context;
    call->compute(call->geom, call->in, call->out, call->scratch + (size_t)worker * call->scratch_bytes, worker,
                  workers);
}

/* What call and operands have in common: kernel, isa, dtype, ints, reals -> geometry and operands. */
typedef struct {
    int kernel, isa;
    gcam_dtype dtype;
    void *geom;
    gcam_operands operands;
} prepared;

static int
prepare(PyObject *const *arguments, prepared *p)
{
    gcam_attributes attributes;
    p->geom = NULL;
    memset(&p->operands, 0, sizeof p->operands);
    const char *isa = PyUnicode_Check(arguments[1]) ? PyUnicode_AsUTF8(arguments[1]) : "";
    if (isa == NULL || pygcam_kernel(arguments[0], &p->kernel) < 0 || pygcam_isa(isa, &p->isa) < 0
        || pygcam_dtype(arguments[2], &p->dtype) < 0
        || pygcam_attributes(arguments[3], arguments[4], &attributes) < 0) {
        return -1;
    }
    const gcam_kernel *kernel = &gcam_kernels[p->kernel];
    gcam_isa_describe(p->isa, p->dtype, &attributes);
    p->geom = gcam_malloc(kernel->geom_bytes);
    const gcam_status status = p->geom == NULL ? GCAM_E_NO_MEMORY : kernel->init(p->geom, &attributes, &p->operands);
    pygcam_attributes_free(&attributes);
    if (status != GCAM_OK) {
        gcam_free(p->geom);
        p->geom = NULL;
        pygcam_raise(kernel->name, status);
        return -1;
    }
    return 0;
}

static int
take_array(PyObject *object, const prepared *p, size_t expected, gcam_kind kind, int writes, const char *argument,
           void **data)
{
    size_t elements = 0;
    *data = NULL;
    if (object != Py_None && pygcam_array(object, p->dtype, kind, writes, argument, data, &elements) < 0) {
        return -1;
    }
    if (elements != expected) {
        PyErr_Format(PyExc_ValueError, "%s: %s: expected an array of %zu elements, got %zu",
                     gcam_kernels[p->kernel].name, argument, expected, elements);
        return -1;
    }
    return 0;
}

/* call(kernel, isa, dtype, ints, reals, inputs, outputs, workers) -> None */
PyObject *
py_call(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    PyObject *result = NULL;
    prepared p = {.geom = NULL};
    kernel_call call = {.scratch = NULL};
    if (count != 8) {
        return PyErr_Format(PyExc_TypeError, "call: expected 8 arguments, got %zd", count);
    }
    PyObject *inputs = pygcam_tuple(arguments[5], "inputs"), *outputs = pygcam_tuple(arguments[6], "outputs");
    const Py_ssize_t workers = PyLong_AsSsize_t(arguments[7]);
    if (inputs == NULL || outputs == NULL || (workers == -1 && PyErr_Occurred())) {
        return NULL;
    }
    if (workers < 1 || workers > 4096) {
        return PyErr_Format(PyExc_ValueError, "workers: expected 1..4096, got %zd", workers);
    }
    if (prepare(arguments, &p) < 0) {
        goto done;
    }
    const gcam_kernel *kernel = &gcam_kernels[p.kernel];
    if (PyTuple_GET_SIZE(inputs) != kernel->inputs || PyTuple_GET_SIZE(outputs) != kernel->outputs) {
        PyErr_Format(PyExc_ValueError, "%s: expected %d inputs and %d outputs", kernel->name, kernel->inputs,
                     kernel->outputs);
        goto done;
    }
    for (int i = 0; i < kernel->inputs; i++) {
        void *data;
        if (take_array(PyTuple_GET_ITEM(inputs, i), &p, p.operands.in[i], p.operands.in_kind[i], 0, "inputs", &data)
            < 0) {
            goto done;
        }
        call.in[i] = data;
    }
    for (int i = 0; i < kernel->outputs; i++) {
        if (take_array(PyTuple_GET_ITEM(outputs, i), &p, p.operands.out[i], p.operands.out_kind[i], 1, "outputs",
                       &call.out[i])
            < 0) {
            goto done;
        }
    }
    size_t scratch_bytes;
    if (!gcam_size_round_up(p.operands.scratch_bytes, GCAM_ALIGNMENT, &call.scratch_bytes)
        || !gcam_size_mul(call.scratch_bytes, (size_t)workers, &scratch_bytes)) {
        pygcam_raise(kernel->name, GCAM_E_SIZE);
        goto done;
    }
    call.scratch = gcam_malloc(scratch_bytes);
    if (call.scratch == NULL) {
        pygcam_raise(kernel->name, GCAM_E_NO_MEMORY);
        goto done;
    }
    call.geom = p.geom;
    call.compute = gcam_isas[p.isa]->compute[p.kernel][p.dtype];
    Py_BEGIN_ALLOW_THREADS gcam_parallel_run(call_task, &call, (int)workers);
    Py_END_ALLOW_THREADS result = Py_NewRef(Py_None);
done:
    gcam_free(call.scratch);
    gcam_free(p.geom);
    return result;
}

static PyObject *
counts(const size_t *values, int count)
{
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *value = PyLong_FromSize_t(values[i]);
        if (value == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, value);
    }
    return tuple;
}

/* operands(kernel, isa, dtype, ints, reals) -> (elements of the inputs, elements of the outputs) */
PyObject *
py_operands(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    prepared p = {.geom = NULL};
    if (count != 5) {
        return PyErr_Format(PyExc_TypeError, "operands: expected 5 arguments, got %zd", count);
    }
    if (prepare(arguments, &p) < 0) {
        return NULL;
    }
    gcam_free(p.geom);
    PyObject *ins = counts(p.operands.in, gcam_kernels[p.kernel].inputs);
    PyObject *outs = ins == NULL ? NULL : counts(p.operands.out, gcam_kernels[p.kernel].outputs);
    PyObject *result = outs == NULL ? NULL : PyTuple_Pack(2, ins, outs);
    Py_XDECREF(ins);
    Py_XDECREF(outs);
    return result;
}
