#include "python/pygcam.h"

#include <string.h>

#include "base/memory.h"
#include "dispatch/kernels.h"

int
pygcam_dtype(PyObject *name, gcam_dtype *dtype)
{
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
    if (text != NULL && (strcmp(text, "f") == 0 || strcmp(text, "d") == 0)) {
        *dtype = text[0] == 'f' ? GCAM_F32 : GCAM_F64;
        return 0;
    }
    if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "dtype: expected 'f' or 'd'");
    }
    return -1;
}

int
pygcam_isa(const char *name, int *isa)
{
    *isa = gcam_isa_find(name);
    if (*isa < 0) {
        PyErr_Format(PyExc_ValueError, "isa: this CPU or build has no level '%s'", name);
    }
    return *isa < 0 ? -1 : 0;
}

int
pygcam_kernel(PyObject *name, int *kernel)
{
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
    if (text == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "kernel: expected a str");
        }
        return -1;
    }
    *kernel = gcam_kernel_find(text);
    if (*kernel < 0) {
        PyErr_Format(PyExc_ValueError, "kernel: no kernel is called '%s'", text);
    }
    return *kernel < 0 ? -1 : 0;
}

PyObject *
pygcam_tuple(PyObject *object, const char *argument)
{
    if (!PyTuple_Check(object)) {
        return PyErr_Format(PyExc_TypeError, "%s: expected a tuple, got %s", argument, Py_TYPE(object)->tp_name);
    }
    return object;
}

int
pygcam_attributes(PyObject *ints, PyObject *reals, gcam_attributes *attributes)
{
    memset(attributes, 0, sizeof *attributes);
    if (pygcam_tuple(ints, "ints") == NULL || pygcam_tuple(reals, "reals") == NULL) {
        return -1;
    }
    const size_t int_count = (size_t)PyTuple_GET_SIZE(ints), real_count = (size_t)PyTuple_GET_SIZE(reals);
    int64_t *int_values = gcam_malloc((int_count + real_count) * sizeof(int64_t));
    if (int_values == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    double *real_values = (double *)(int_values + int_count);
    attributes->ints = int_values;
    attributes->int_count = int_count;
    attributes->reals = real_values;
    attributes->real_count = real_count;
    for (size_t i = 0; i < int_count; i++) {
        int_values[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(ints, (Py_ssize_t)i));
        if (int_values[i] == -1 && PyErr_Occurred()) {
            goto fail;
        }
    }
    for (size_t i = 0; i < real_count; i++) {
        real_values[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(reals, (Py_ssize_t)i));
        if (real_values[i] == -1.0 && PyErr_Occurred()) {
            goto fail;
        }
    }
    return 0;
fail:
    pygcam_attributes_free(attributes);
    return -1;
}

void
pygcam_attributes_free(gcam_attributes *attributes)
{
    gcam_free((void *)(uintptr_t)attributes->ints);
    memset(attributes, 0, sizeof *attributes);
}

int
pygcam_array(PyObject *object, gcam_dtype dtype, gcam_kind kind, int writes, const char *argument, void **data,
             size_t *elements)
{
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected arrays, got %s", argument, Py_TYPE(object)->tp_name);
        return -1;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    const int real = dtype == GCAM_F32 ? NPY_FLOAT : NPY_DOUBLE;
    const int types[GCAM_KINDS] = {real, NPY_INT64, NPY_UINT16, NPY_UINT8}, type = types[kind];
    if (!PyArray_EquivTypenums(PyArray_TYPE(array), type) || !PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_TypeError, "%s: expected native arrays of the kernel's type", argument);
        return -1;
    }
    if (!PyArray_IS_C_CONTIGUOUS(array) || !PyArray_ISALIGNED(array) || (writes && !PyArray_ISWRITEABLE(array))) {
        PyErr_Format(PyExc_ValueError, "%s: expected C-contiguous%s arrays", argument, writes ? " writeable" : "");
        return -1;
    }
    *data = PyArray_DATA(array);
    *elements = (size_t)PyArray_SIZE(array);
    return 0;
}
