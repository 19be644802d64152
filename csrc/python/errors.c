#include "python/pygcam.h"

#include "base/status.h"

PyObject *
pygcam_raise(const char *where, gcam_status status)
{
    if (status == GCAM_E_INTERRUPTED) {
        if (!PyErr_Occurred()) {
            PyErr_SetNone(PyExc_KeyboardInterrupt);
        }
        return NULL;
    }
    if (status == GCAM_E_NO_MEMORY || status == GCAM_E_SIZE) {
        return PyErr_Format(PyExc_MemoryError, "%s: %s", where, gcam_status_text(status));
    }
    return PyErr_Format(PyExc_ValueError, "%s: %s: %s", where, gcam_status_argument(status), gcam_status_text(status));
}
