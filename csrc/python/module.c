/* gradcam._core: private, positional-only, strict. See _core.pyi for the signatures. */
#define PYGCAM_IMPORT_ARRAY
#include "python/pygcam.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "dispatch/kernels.h"
#include "simd/cpu.h"

#ifndef GCAM_COMPILER
#ifdef __VERSION__
#define GCAM_COMPILER __VERSION__
#else
#define GCAM_COMPILER "unknown"
#endif
#endif

#ifndef GCAM_BUILD_FLAGS
#define GCAM_BUILD_FLAGS ""
#endif

static PyObject *
py_omp_max_threads(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(gcam_parallel_limit());
}

static PyObject *
py_before_fork(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    gcam_parallel_before_fork();
    Py_RETURN_NONE;
}

static PyObject *
py_fail_allocation(PyObject *module, PyObject *after)
{
    (void)module;
    const Py_ssize_t successes = PyLong_AsSsize_t(after);
    if (successes == -1 && PyErr_Occurred()) {
        return NULL;
    }
    gcam_malloc_fail_after(successes < 0 || successes > INT_MAX ? -1 : (int)successes);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"call", (PyCFunction)(void (*)(void))py_call, METH_FASTCALL,
     "call(kernel, isa, dtype, ints, reals, inputs, outputs, workers)"},
    {"operands", (PyCFunction)(void (*)(void))py_operands, METH_FASTCALL, "operands(kernel, isa, dtype, ints, reals)"},
    {"omp_max_threads", py_omp_max_threads, METH_NOARGS, "threads that OpenMP would use now"},
    {"before_fork", py_before_fork, METH_NOARGS, "to be called before os.fork"},
    {"fail_allocation", py_fail_allocation, METH_O, "test only: fail the allocation after so many more"},
    {NULL, NULL, 0, NULL},
};

/* The level named by GRADCAM_ISA, else the best one; an unusable name is an ImportError that lists the good ones. */
static int
choose_isa(PyObject *levels)
{
    const char *name = getenv("GRADCAM_ISA");
    if (name == NULL || name[0] == '\0') {
        return gcam_isa_best();
    }
    const int isa = gcam_isa_find(name);
    if (isa < 0) {
        PyErr_Format(PyExc_ImportError, "GRADCAM_ISA: expected one of %R, got '%s'", levels, name);
    }
    return isa;
}

static PyObject *
supported_levels(void)
{
    PyObject *list = PyList_New(0);
    for (int isa = 0; list != NULL && isa < gcam_isa_count; isa++) {
        if (gcam_isa_find(gcam_isas[isa]->name) < 0) {
            continue;
        }
        PyObject *name = PyUnicode_FromString(gcam_isas[isa]->name);
        if (name == NULL || PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(name);
    }
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

static PyObject *
kernel_names(void)
{
    PyObject *tuple = PyTuple_New(GCAM_KERNEL_COUNT);
    for (int k = 0; tuple != NULL && k < GCAM_KERNEL_COUNT; k++) {
        PyObject *name = PyUnicode_FromString(gcam_kernels[k].name);
        if (name == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, k, name);
    }
    return tuple;
}

static int
add(PyObject *module, const char *name, PyObject *value)
{
    const int status = value == NULL ? -1 : PyModule_AddObjectRef(module, name, value);
    Py_XDECREF(value);
    return status;
}

static int
module_exec(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    pygcam_state *state = PyModule_GetState(module);
    PyObject *levels = supported_levels();
    state->isa = levels == NULL ? -1 : choose_isa(levels);
    if (add(module, "isas", levels) < 0 || state->isa < 0) {
        return -1;
    }
    state->plan_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pygcam_plan_spec, NULL);
    if (state->plan_type == NULL || PyModule_AddType(module, state->plan_type) < 0) {
        return -1;
    }
    if (add(module, "isa", PyUnicode_FromString(gcam_isas[state->isa]->name)) < 0
        || add(module, "kernels", kernel_names()) < 0
        || add(module, "bfloat16", PyBool_FromLong(gcam_cpu_has_avx512_bf16())) < 0
        || add(module, "openmp", PyBool_FromLong(gcam_parallel_available())) < 0
        || add(module, "compiler", PyUnicode_FromString(GCAM_COMPILER)) < 0
        || add(module, "flags", PyUnicode_FromString(GCAM_BUILD_FLAGS)) < 0) {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    pygcam_state *state = PyModule_GetState(module);
    Py_VISIT(state->plan_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    pygcam_state *state = PyModule_GetState(module);
    Py_CLEAR(state->plan_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)(uintptr_t)module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,          .m_name = "gradcam._core", .m_doc = "The C core of gradcam. Private.",
    .m_size = sizeof(pygcam_state), .m_methods = methods,      .m_slots = slots,
    .m_traverse = module_traverse,  .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
