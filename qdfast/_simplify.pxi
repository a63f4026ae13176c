# Part of _core.pyx: the binding of qd_simplify and qd_raw_strokes (csrc/qd.h).

from cpython.bool cimport PyBool_Check
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsDouble, PyLong_Check
from libc.math cimport isfinite


cdef int64_t _simplify(const qd.qd_raw *raw, uint8_t *x, uint8_t *y, int64_t *stroke_offsets) except -1:
    """Returns the number of drawings simplified: fewer than all if the next one has a coordinate that is not finite."""
    cdef int64_t done, longest = _longest_stroke(raw.stroke_offsets, 0, raw.n_strokes)
    cdef void *scratch = _allocate(qd.qd_simplify_scratch(longest))
    with nogil:
        done = qd.qd_simplify(raw, scratch, longest, x, y, stroke_offsets)
    PyMem_RawFree(scratch)
    return done


def simplify_columns(const double[::1] x, const double[::1] y, const int64_t[::1] stroke_offsets,
                     const int64_t[::1] drawing_offsets):
    """Simplify raw columns.

    Returns ``(x, y, stroke_offsets)``, or the number of the first drawing with a coordinate that is not finite.
    Raises ValueError if the offsets are invalid.
    """
    cdef qd.qd_raw raw
    cdef qd.qd_view offsets
    cdef int64_t points = x.shape[0], done
    _check(y.shape[0] != points or not stroke_offsets.shape[0] or not drawing_offsets.shape[0], BAD_COLUMNS)
    raw.n_points = offsets.n_points = points
    raw.n_strokes = offsets.n_strokes = stroke_offsets.shape[0] - 1
    raw.n_drawings = offsets.n_drawings = drawing_offsets.shape[0] - 1
    raw.stroke_offsets = offsets.stroke_offsets = &stroke_offsets[0]
    raw.drawing_offsets = offsets.drawing_offsets = &drawing_offsets[0]
    _check(qd.qd_check(&offsets), BAD_OFFSETS)
    # One byte more than needed, so that &x_out[0] exists without points. Memory that is never touched costs nothing.
    simplified = [np.empty(qd.QD_SIMPLIFIED * points + 1, np.uint8) for _ in range(2)]
    offsets_out = np.zeros(raw.n_strokes + 1, np.int64)
    cdef uint8_t[::1] x_out = simplified[0], y_out = simplified[1]
    cdef int64_t[::1] stroke_offsets_out = offsets_out
    if points:
        raw.x, raw.y = &x[0], &y[0]
        done = _simplify(&raw, &x_out[0], &y_out[0], &stroke_offsets_out[0])
        if done < raw.n_drawings:
            return done
    points = stroke_offsets_out[raw.n_strokes]
    return simplified[0][:points].copy(), simplified[1][:points].copy(), offsets_out


def simplify_lists(list xs, list ys):
    """Simplify one drawing, given as a list of x and a list of y for each stroke, equally long and not empty.

    Returns x and y as bytes and a list of the points per stroke, or the number of the first stroke with a value that
    is neither float nor int (bool is rejected), or is not finite.
    """
    cdef qd.qd_raw raw
    cdef int64_t s, at = 0, points = 0, n = len(xs)
    cdef int64_t[2] drawing_offsets = [0, n]
    cdef double *values
    cdef int64_t *offsets
    cdef uint8_t *x
    cdef uint8_t *y
    for s in range(n):
        if len(<list?>xs[s]) != len(<list?>ys[s]) or not xs[s]:
            raise ValueError("x and y differ in length, or are empty")
        points += len(<list>xs[s])
    if not n:
        raise ValueError("no strokes")
    # Raw x and y, raw and simplified offsets, simplified x and y.
    values = <double *>_allocate(16 * points + 16 * (n + 1) + 2 * qd.QD_SIMPLIFIED * points)
    try:
        offsets = <int64_t *>(values + 2 * points)
        offsets[0] = 0
        for s in range(n):
            if not (_numbers(xs[s], values + at) and _numbers(ys[s], values + points + at)):
                return s
            at += len(<list>xs[s])
            offsets[s + 1] = at
        raw.x, raw.y, raw.stroke_offsets, raw.drawing_offsets = values, values + points, offsets, drawing_offsets
        raw.n_points, raw.n_strokes, raw.n_drawings = points, n, 1
        offsets += n + 1
        x = <uint8_t *>(offsets + n + 1)
        y = x + qd.QD_SIMPLIFIED * points
        _simplify(&raw, x, y, offsets)
        return (<char *>x)[:offsets[n]], (<char *>y)[:offsets[n]], [offsets[s + 1] - offsets[s] for s in range(n)]
    finally:
        PyMem_RawFree(values)


cdef bint _numbers(list values, double *to) except -1:
    """Write ``values`` to ``to``. Returns whether all are finite numbers."""
    cdef Py_ssize_t i
    for i in range(len(values)):
        value = values[i]
        if PyFloat_Check(value):
            to[i] = PyFloat_AS_DOUBLE(value)
        elif PyLong_Check(value) and not PyBool_Check(value):
            try:
                to[i] = PyLong_AsDouble(value)
            except OverflowError:  # beyond the largest double
                return False
        else:
            return False
        if not isfinite(to[i]):
            return False
    return True


def parse_raw_strokes(bytes text):
    """Read the strokes of one raw drawing, ``[[[x, ...], [y, ...], [t, ...]], ...]``.

    Returns ``(x, y, stroke_offsets)``, or None if the scanner leaves ``text`` to orjson.
    """
    cdef size_t size = len(text)
    cdef bytes line = text + b"\n" + bytes(qd.QD_PADDING)
    cdef const uint8_t *start = line
    cdef const uint8_t *end
    cdef int64_t points = qd.qd_max_raw_points(size), strokes = qd.qd_max_strokes(size), n = 0
    columns = np.empty((2, points))
    offsets = np.empty(strokes + 1, np.int64)
    cdef double[:, ::1] to = columns
    cdef int64_t[::1] stroke_offsets = offsets
    with nogil:
        end = qd.qd_raw_strokes(start, &to[0, 0], &to[1, 0], points, &stroke_offsets[0], strokes, &n)
    if end != start + size:
        return None
    points = stroke_offsets[n]
    return columns[0, :points], columns[1, :points], offsets[:n + 1]
