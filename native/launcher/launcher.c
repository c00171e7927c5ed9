/* The program `pyrunc`: CPython inside, started only as far as a command needs it.
 *
 * CPython starts in two phases (PEP 587, "Multi-Phase Initialization Private Provisional API"). After the first there are the
 * types, the built-in and frozen modules and their import. The second imports the codecs, zipimport and the importer of paths,
 * and opens three text streams: more than half of the whole start, and nothing that a command needs on its way to success. So
 * it waits until somebody asks for it: lazy.py.
 *
 * door.h is made by build.py: the code that runs first, and the paths of this interpreter. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>

#include "door.h"

/* Private to the library that we link statically: the signals are of the second phase, but interruptions are not. */
extern int _PySignal_Init(int install_handlers);

static void check(PyStatus status) {
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static PyObject *complete(PyObject *self, PyObject *nothing) {
    (void)self, (void)nothing;
    check(_Py_InitializeMain());
    Py_RETURN_NONE;
}

static PyMethodDef complete_method = {"complete", complete, METH_NOARGS, NULL};

/* As -I -S -X utf8 would have it. */
static void initialize(int argc, char **argv) {
    PyPreConfig pre;
    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
    check(Py_PreInitialize(&pre));

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config._init_main = 0;
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    struct { wchar_t **field; const wchar_t *value; } paths[] = {
        {&config.executable, INTERPRETER}, {&config.base_executable, INTERPRETER}, {&config.stdlib_dir, STDLIB},
        {&config.prefix, PREFIX}, {&config.base_prefix, PREFIX},
        {&config.exec_prefix, EXEC_PREFIX}, {&config.base_exec_prefix, EXEC_PREFIX},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        check(PyConfig_SetString(&config, paths[i].field, paths[i].value));
    config.module_search_paths_set = 1;
    check(PyWideStringList_Append(&config.module_search_paths, STDLIB));
    check(PyWideStringList_Append(&config.module_search_paths, EXTENSIONS));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

static PyObject *texts(int count, char **bytes) {
    PyObject *list = PyList_New(count);
    for (int i = 0; list && i < count; i++) {
        PyObject *text = PyUnicode_DecodeFSDefault(bytes[i]);
        if (!text)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, text);
    }
    return list;
}

static PyObject *enter(int argc, char **argv) {
    PyObject *words = texts(argc, argv);
    if (!words || PySys_SetObject("argv", words) || _PySignal_Init(1))
        return NULL;
    PyObject *function = PyCFunction_New(&complete_method, NULL);
    PyObject *globals = function ? Py_BuildValue("{sOsssssO}", "__builtins__", PyEval_GetBuiltins(), "__name__", "__main__",
                                                 "__file__", "/proc/self/exe", "complete", function) : NULL;
    PyObject *code = PyMarshal_ReadObjectFromString((const char *)DOOR, sizeof DOOR);
    return globals && code ? PyEval_EvalCode(code, globals, globals) : NULL;
}

int main(int argc, char **argv) {
    initialize(argc, argv);
    if (!enter(argc, argv))
        PyErr_Print();
    return 1; /* the door leaves by _exit(2) */
}
