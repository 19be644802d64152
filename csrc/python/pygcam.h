/* What the binding's files share. Every array is checked here before the library sees its memory. */
#ifndef GCAM_PYTHON_PYGCAM_H
#define GCAM_PYTHON_PYGCAM_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PY_ARRAY_UNIQUE_SYMBOL gradcam_core_array_api
#ifndef PYGCAM_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "base/kernel.h"

typedef struct {
    PyTypeObject *plan_type;
    int isa;
} pygcam_state;

/* errors.c: set the Python exception that belongs to `status`; always returns NULL. */
PyObject *pygcam_raise(const char *where, gcam_status status);

/* arrays.c. The functions return -1 (or NULL) with an exception set. */
int pygcam_dtype(PyObject *name, gcam_dtype *dtype);            /* 'f' or 'd' */
int pygcam_isa(const char *name, int *isa);                     /* a level that this CPU runs */
int pygcam_kernel(PyObject *name, int *kernel);                 /* a kernel of the table */
PyObject *pygcam_tuple(PyObject *object, const char *argument); /* borrowed */

/* Integers and reals of a kernel call, in memory of their own; release with pygcam_attributes_free. */
int pygcam_attributes(PyObject *ints, PyObject *reals, gcam_attributes *attributes);
void pygcam_attributes_free(gcam_attributes *attributes);

/* The data of a C-contiguous, aligned, native array of the kind, and its number of elements. */
int pygcam_array(PyObject *object, gcam_dtype dtype, gcam_kind kind, int writes, const char *argument, void **data,
                 size_t *elements);

/* py_kernel.c, py_plan.c */
PyObject *py_call(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *py_operands(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
extern PyType_Spec pygcam_plan_spec;

#endif
