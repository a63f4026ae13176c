"""The binding of csrc/qd.h: buffers in, buffers out; kernels run without the GIL.

Arguments are checked only as far as memory safety needs it. Meaning and defaults live in the modules above.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

import mmap

import numpy as np

from qdfast cimport _qd as qd

PADDING = qd.QD_PADDING
EXAMPLES = qd.QD_EXAMPLES
KINDS = ("not_recognized", "field_missing")  # of qd_tally
SIDE = qd.QD_SIDE


cdef tuple _level_names():
    cdef int level = 0
    names = []
    while qd.qd_level_name(level) != NULL:
        names.append(qd.qd_level_name(level).decode())
        level += 1
    return tuple(names)


LEVELS = _level_names()  # by the value of qd_level

cdef str BAD_COLUMNS = "x and y differ in length, or offsets are empty"
cdef str BAD_OFFSETS = "offsets do not rise from 0 to the number of strokes and points"
cdef str NO_ROOM = "no room left in the columns"


cdef int _check(bint failed, str message) except -1:
    """Raise ValueError with ``message`` if a kernel or a check of its arguments failed."""
    if failed:
        raise ValueError(message)
    return 0


cdef int _check_level(int level) except -1:
    return _check(not 0 <= level <= qd.qd_level(), f"level {level}: this CPU has {qd.qd_level()}")


cdef void *_allocate(size_t size) except NULL:
    """Memory for a kernel, to be freed by PyMem_RawFree."""
    cdef void *memory = PyMem_RawMalloc(size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef int64_t _longest_stroke(const int64_t *stroke_offsets, int64_t first, int64_t last) noexcept nogil:
    cdef int64_t s, longest = 0
    for s in range(first, last):
        longest = max(longest, stroke_offsets[s + 1] - stroke_offsets[s])
    return longest


def best_level():
    """The index of the highest of ``LEVELS`` that this CPU has."""
    return qd.qd_level()


cdef class Columns:
    """Scratch columns for one block of at most ``capacity`` bytes of ndjson, reused from block to block.

    ``scan`` and ``append`` fill them, ``copy_to`` appends their drawings to other columns, ``clear`` empties them.
    ``level`` is an index into ``LEVELS``. ``memory`` has the memory of each column by name, with its values at the front.
    Not thread-safe.
    """

    cdef qd.qd_columns c
    cdef qd.qd_words w
    cdef qd.qd_tally t
    cdef readonly size_t capacity
    cdef readonly int level
    cdef readonly dict memory

    def __cinit__(self, size_t capacity, int level):
        cdef size_t points = qd.qd_max_points(capacity)
        cdef size_t strokes = qd.qd_max_strokes(capacity)
        cdef size_t drawings = qd.qd_max_drawings(capacity)
        cdef size_t slots = 16
        while slots < 2 * drawings:
            slots *= 2
        _check_level(level)
        self.capacity = capacity
        self.level = level
        self.memory = {}
        # Sized for the worst case. Pages that are never touched cost nothing.
        self.c.x = <uint8_t *>self._own("x", points + qd.QD_SLACK)
        self.c.y = <uint8_t *>self._own("y", points + qd.QD_SLACK)
        self.c.stroke_offsets = <int64_t *>self._own("stroke_offsets", 8 * (strokes + 1))
        self.c.drawing_offsets = <int64_t *>self._own("drawing_offsets", 8 * (drawings + 1))
        self.c.key_id = <uint64_t *>self._own("key_id", 8 * drawings)
        self.c.timestamp = <int64_t *>self._own("timestamp", 8 * drawings)
        self.c.word = <int32_t *>self._own("word_codes", 4 * drawings)
        self.c.recognized = <uint8_t *>self._own("recognized", drawings)
        self.c.countrycode = <uint8_t *>self._own("countrycode", 2 * drawings)
        self.c.cap_points = points
        self.c.cap_strokes = strokes
        self.c.cap_drawings = drawings
        self.c.text = <uint8_t *>self._own("text", capacity + qd.QD_SLACK)
        self.w.bytes = <uint8_t *>self._own("words", capacity + 1)
        self.w.offsets = <int64_t *>self._own("word_offsets", 8 * (drawings + 1))
        self.w.slots = <int32_t *>self._own("word_slots", 4 * slots)
        self.w.cap_bytes = capacity
        self.w.cap_words = drawings
        self.w.n_slots = slots

    cdef void *_own(self, str name, size_t size) except NULL:
        # NumPy would ask for huge pages, and whole ones would be touched.
        self.memory[name] = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        cdef uint8_t[::1] view = self.memory[name]
        return &view[0]

    def scan(self, const uint8_t[::1] data, size_t size, size_t pos, bint keep_any, bint raw=False):
        """Scan ``data[pos:size]``; returns the position of the first uncertain line, or ``size``.

        ``raw``: the drawings are raw, and are simplified. Their columns need a capacity of ``2 * size``.
        ``data[size - 1]`` must be a newline and ``PADDING`` readable bytes must follow it.
        """
        if size == 0 or pos >= size:
            return size
        _check(<size_t>data.shape[0] < size + qd.QD_PADDING or data[size - 1] != 10 or size > self.capacity,
               "block without newline or padding, or larger than the columns' capacity")
        if raw and self.c.raw_len < size:
            self.c.raw = self._own("raw", qd.qd_raw_scratch(self.capacity))
            self.c.raw_len = self.capacity
        with nogil:
            if raw:
                qd.qd_scan_raw(&data[0], size, &pos, keep_any, &self.c, &self.w, &self.t)
            else:
                qd.qd_scan(self.level, &data[0], size, &pos, keep_any, &self.c, &self.w, &self.t)
        return pos

    @property
    def lines(self):
        """Lines read so far, including those counted by ``skip_line``."""
        return self.t.lines

    def skip_line(self):
        """Count a line that was handled outside of ``scan``."""
        self.t.lines += 1

    def append(self, const uint8_t[::1] x, const uint8_t[::1] y, list stroke_lengths, uint64_t key_id, int recognized,
               bytes countrycode, int64_t timestamp, bytes word):
        """Append one drawing that the caller has validated."""
        cdef Py_ssize_t n = x.shape[0], k = len(stroke_lengths)
        cdef int64_t i = self.c.n_drawings
        cdef int64_t length
        if (n == 0 or y.shape[0] != n or sum(stroke_lengths) != n or len(countrycode) > 2
                or self.c.n_points + n > self.c.cap_points or self.c.n_strokes + k > self.c.cap_strokes
                or i == self.c.cap_drawings):
            raise ValueError("inconsistent drawing, or no room left in the columns")
        cdef const uint8_t *w = word
        cdef int32_t code = qd.qd_word_code(&self.w, w, len(word))
        _check(code < 0, NO_ROOM)
        memcpy(self.c.x + self.c.n_points, &x[0], n)
        memcpy(self.c.y + self.c.n_points, &y[0], n)
        for length in stroke_lengths:
            self.c.n_points += length
            self.c.n_strokes += 1
            self.c.stroke_offsets[self.c.n_strokes] = self.c.n_points
        self.c.key_id[i] = key_id
        self.c.recognized[i] = recognized
        self.c.timestamp[i] = timestamp
        self.c.word[i] = code
        cdef const uint8_t *country = countrycode
        memset(self.c.countrycode + 2 * i, 0, 2)
        memcpy(self.c.countrycode + 2 * i, country, len(countrycode))
        self.c.n_drawings = i + 1
        self.c.drawing_offsets[i + 1] = self.c.n_strokes

    @property
    def counts(self):
        """Number of points, strokes and drawings found."""
        return self.c.n_points, self.c.n_strokes, self.c.n_drawings

    @property
    def words(self):
        """The distinct words found, in order of first use, as bytes."""
        return [(<const char *>self.w.bytes)[self.w.offsets[i]:self.w.offsets[i + 1]] for i in range(self.w.n_words)]

    @property
    def tally(self):
        """Valid lines that were not kept, by reason: ``(count, [(line, offset), ...])``, lines counted from 0."""
        return {
            KINDS[kind]: (
                self.t.count[kind],
                [
                    (self.t.example_line[kind][e], self.t.example_offset[kind][e])
                    for e in range(min(<int64_t>qd.QD_EXAMPLES, self.t.count[kind]))
                ],
            )
            for kind in range(qd.QD_KINDS)
        }

    def copy_to(self, const int32_t[::1] codes, int64_t points, int64_t strokes, int64_t drawings, uint8_t[::1] x,
                uint8_t[::1] y, int64_t[::1] stroke_offsets, int64_t[::1] drawing_offsets, uint64_t[::1] key_id,
                uint8_t[::1] recognized, uint16_t[::1] countrycode, int64_t[::1] timestamp, int32_t[::1] word_codes):
        """Append all drawings to other columns, which hold ``points``, ``strokes``, ``drawings`` so far; see qd_append.

        ``codes`` are the codes of the words in the other columns. A country code is two bytes.
        """
        cdef qd.qd_columns to
        cdef int failed
        if self.c.n_drawings == 0:
            return
        to.cap_points = min(x.shape[0], y.shape[0])
        to.cap_strokes = stroke_offsets.shape[0] - 1
        to.cap_drawings = min(drawing_offsets.shape[0] - 1, key_id.shape[0], recognized.shape[0], timestamp.shape[0],
                              countrycode.shape[0], word_codes.shape[0])
        _check(codes.shape[0] < self.w.n_words or min(points, strokes, drawings) < 0,
               "a code for each word and counts from 0 are needed")
        _check(to.cap_points == 0 or to.cap_strokes <= 0 or to.cap_drawings <= 0, NO_ROOM)
        to.x, to.y, to.stroke_offsets, to.drawing_offsets = &x[0], &y[0], &stroke_offsets[0], &drawing_offsets[0]
        to.key_id, to.recognized, to.countrycode = &key_id[0], &recognized[0], <uint8_t *>&countrycode[0]
        to.timestamp, to.word = &timestamp[0], &word_codes[0]
        to.n_points, to.n_strokes, to.n_drawings = points, strokes, drawings
        with nogil:
            failed = qd.qd_append(&self.c, &codes[0], &to)
        _check(failed, NO_ROOM)

    def clear(self):
        """Forget all drawings, words, lines."""
        self.c.n_points = self.c.n_strokes = self.c.n_drawings = 0
        qd.qd_words_clear(&self.w)
        memset(&self.t, 0, sizeof(self.t))


cdef class Views:
    """The columns of any number of batches, as the kernels read them. Keeps the arrays alive.

    A batch is ``(x, y, stroke_offsets, drawing_offsets)``, or the ``Views`` of a single batch. Kernels trust offsets, so
    these are copied, and the copies are checked; x and y may change at any time. Raises ValueError if offsets are
    invalid (every stroke has a point, every drawing a stroke). ``trusted``: the offsets are valid, and in memory that
    nobody else writes to; they are neither copied nor checked.
    """

    cdef qd.qd_view *v
    cdef readonly int n
    cdef readonly tuple offsets  # (stroke_offsets, drawing_offsets) of the last batch that was added, read-only
    cdef list _owners

    def __cinit__(self, batches, bint trusted=False):
        cdef int i = 0
        batches = tuple(batches)
        self.n = len(batches)
        self._owners = []
        self.v = <qd.qd_view *>PyMem_Calloc(max(self.n, 1), sizeof(qd.qd_view))  # without batches: one of no drawings
        if self.v == NULL:
            raise MemoryError
        for batch in batches:
            if isinstance(batch, Views):
                self._share(i, batch)
            else:
                x, y, stroke_offsets, drawing_offsets = batch
                self.offsets = stroke_offsets, drawing_offsets
                if not trusted:
                    self.offsets = _private_copy(stroke_offsets), _private_copy(drawing_offsets)
                self._add(i, x, y, self.offsets[0], self.offsets[1], trusted)
            i += 1

    cdef _share(self, int i, Views views):
        _check(views.n != 1, "the views of a single batch are needed")
        self.v[i] = views.v[0]
        self._owners.append(views)

    def __dealloc__(self):
        PyMem_Free(self.v)

    cdef _add(self, int i, const uint8_t[::1] x, const uint8_t[::1] y, const int64_t[::1] stroke_offsets,
              const int64_t[::1] drawing_offsets, bint trusted):
        cdef qd.qd_view *v = self.v + i
        cdef int failed = 0
        _check(x.shape[0] != y.shape[0] or not stroke_offsets.shape[0] or not drawing_offsets.shape[0], BAD_COLUMNS)
        v.n_points = x.shape[0]
        v.n_strokes = stroke_offsets.shape[0] - 1
        v.n_drawings = drawing_offsets.shape[0] - 1
        v.x = &x[0] if v.n_points else NULL
        v.y = &y[0] if v.n_points else NULL
        v.stroke_offsets = &stroke_offsets[0]
        v.drawing_offsets = &drawing_offsets[0]
        if not trusted:
            with nogil:
                failed = qd.qd_check(v)
        _check(failed, BAD_OFFSETS)
        self._owners.append((x, y, stroke_offsets, drawing_offsets))

    cdef _check_rows(self, const int32_t[::1] view_of, const int64_t[::1] rows):
        cdef Py_ssize_t i
        cdef int which = 0
        if view_of is not None and (rows is None or view_of.shape[0] != rows.shape[0]):
            raise ValueError("view_of and rows differ in length")
        if rows is None:
            return
        for i in range(rows.shape[0]):
            if view_of is not None:
                which = view_of[i]
            if not (0 <= which < self.n and 0 <= rows[i] < self.v[which].n_drawings):
                raise IndexError(f"no drawing {rows[i]} in batch {which}")

    def deltas(self, const int32_t[::1] view_of, const int64_t[::1] rows, bint blank_zero, mean, std, out,
               int32_t[::1] lengths):
        """Fill ``out`` (n, max_len, 3), float32 or int16, and ``lengths`` (n,); see qd_deltas_f32.

        ``mean`` and ``std`` are float64 (2,), or None for raw deltas.
        """
        cdef int64_t n = self.v[0].n_drawings if rows is None else rows.shape[0]
        cdef const int32_t *which = NULL
        cdef const int64_t *row = NULL
        cdef qd.qd_table table
        cdef float[:, :, ::1] f32
        cdef int16_t[:, :, ::1] i16
        cdef int64_t max_len
        self._check_rows(view_of, rows)
        if out.shape != (n, out.shape[1], 3) or lengths.shape[0] != n:
            raise ValueError(f"out must be ({n}, max_len, 3) and lengths ({n},)")
        if n == 0 or out.shape[1] == 0:
            if n:
                lengths[:] = 0
            return
        if rows is not None:
            row = &rows[0]
        if view_of is not None:
            which = &view_of[0]
        max_len = out.shape[1]
        if out.dtype == np.float32:
            f32 = out
            _table(&table, mean, std)
            with nogil:
                qd.qd_deltas_f32(self.v, which, row, n, max_len, blank_zero, &table, &f32[0, 0, 0], &lengths[0])
        else:
            i16 = out
            with nogil:
                qd.qd_deltas_i16(self.v, which, row, n, max_len, blank_zero, &i16[0, 0, 0], &lengths[0])

    def ragged(self, int64_t max_len, bint blank_zero, mean, std, const int64_t[::1] offsets, out):
        """Fill ``out`` (offsets[-1], 3), float32 or int16, from the first batch; see qd_ragged_f32."""
        cdef qd.qd_table table
        cdef float[:, ::1] f32
        cdef int16_t[:, ::1] i16
        cdef int64_t i, points, at = 0
        cdef qd.qd_view *v = self.v
        if offsets.shape[0] != v.n_drawings + 1 or max_len < 0:
            raise ValueError("one offset more than drawings is needed")
        for i in range(v.n_drawings):
            points = v.stroke_offsets[v.drawing_offsets[i + 1]] - v.stroke_offsets[v.drawing_offsets[i]]
            if offsets[i] != at:
                raise ValueError("offsets do not fit the drawings")
            at += min(points, max_len)
        if out.shape != (at, 3):
            raise ValueError(f"out must be ({at}, 3)")
        if at == 0:
            return
        if out.dtype == np.float32:
            f32 = out
            _table(&table, mean, std)
            with nogil:
                qd.qd_ragged_f32(v, max_len, blank_zero, &table, &offsets[0], &f32[0, 0])
        else:
            i16 = out
            with nogil:
                qd.qd_ragged_i16(v, max_len, blank_zero, &offsets[0], &i16[0, 0])

    def stats(self, const int32_t[::1] group, int n_groups, int64_t max_len, bint blank_zero):
        """Sums over the first batch's steps by group, int64 (n_groups, 5): n, sum dx, dy, sum dx^2, dy^2."""
        cdef qd.qd_view *v = self.v
        cdef const int32_t *g = NULL
        cdef Py_ssize_t i
        cdef int64_t[:, ::1] sums = np.zeros((n_groups, 5), np.int64)
        if n_groups < 1 or (group is not None and group.shape[0] != v.n_drawings):
            raise ValueError("a group for each drawing is needed")
        if group is not None and group.shape[0]:
            for i in range(group.shape[0]):
                if not 0 <= group[i] < n_groups:
                    raise IndexError(f"no group {group[i]}")
            g = &group[0]
        with nogil:
            qd.qd_delta_stats(v, g, max_len, blank_zero, <qd.qd_stats *>&sums[0, 0])
        return np.asarray(sums)

    def hashes(self):
        """uint64 (n_drawings,) of the first batch; see qd_hash."""
        cdef uint64_t[::1] out = np.empty(self.v.n_drawings, np.uint64)
        if out.shape[0]:
            with nogil:
                qd.qd_hash(self.v, &out[0])
        return np.asarray(out)

    def bitmaps(self, int level, const int64_t[::1] rows, uint8_t[:, :, ::1] out):
        """Fill ``out`` (n, SIDE, SIDE) with drawings ``rows`` of the first batch, all where None; see qd_bitmaps."""
        cdef qd.qd_view *v = self.v
        cdef int64_t n = v.n_drawings if rows is None else rows.shape[0]
        cdef const int64_t *row = NULL
        cdef int64_t i, longest = 0
        cdef void *scratch
        self._check_rows(None, rows)
        if out.shape[0] != n or out.shape[1] != SIDE or out.shape[2] != SIDE:
            raise ValueError(f"out must be ({n}, {SIDE}, {SIDE})")
        _check_level(level)
        if n == 0:
            return
        if rows is not None:
            row = &rows[0]
        with nogil:
            if row == NULL:
                longest = _longest_stroke(v.stroke_offsets, 0, v.n_strokes)
            else:
                for i in range(n):
                    longest = max(longest, _longest_stroke(v.stroke_offsets, v.drawing_offsets[row[i]],
                                                           v.drawing_offsets[row[i] + 1]))
        scratch = _allocate(qd.qd_bitmap_scratch(longest))
        with nogil:
            qd.qd_bitmaps(level, v, row, n, longest, scratch, &out[0, 0, 0])
        PyMem_RawFree(scratch)

    def take(self, const int64_t[::1] rows):
        """Drawings ``rows`` of the first batch as new ``(x, y, stroke_offsets, drawing_offsets)``."""
        cdef Py_ssize_t n = rows.shape[0]
        cdef int64_t i, first, last, points = 0, strokes = 0
        cdef qd.qd_view *v = self.v
        self._check_rows(None, rows)
        for i in range(n):
            first = v.drawing_offsets[rows[i]]
            last = v.drawing_offsets[rows[i] + 1]
            strokes += last - first
            points += v.stroke_offsets[last] - v.stroke_offsets[first]
        arrays = (
            np.empty(points, np.uint8), np.empty(points, np.uint8),
            np.zeros(strokes + 1, np.int64), np.zeros(n + 1, np.int64),
        )
        cdef uint8_t[::1] x = arrays[0], y = arrays[1]
        cdef int64_t[::1] stroke_offsets = arrays[2], drawing_offsets = arrays[3]
        if n:
            with nogil:
                qd.qd_take(v, &rows[0], n, &x[0], &y[0], &stroke_offsets[0], &drawing_offsets[0])
        for array in arrays:
            array.flags.writeable = False
        return arrays


cdef _private_copy(const int64_t[::1] offsets):
    """A copy that not even NumPy's owner of the memory can make writable."""
    return np.frombuffer(bytes(offsets), np.int64) if offsets.shape[0] else np.empty(0, np.int64)


cdef _table(qd.qd_table *table, mean, std):
    cdef double m[2]
    cdef double s[2]
    if mean is None:
        qd.qd_table_raw(table)
    else:
        m[0], m[1] = mean
        s[0], s[1] = std
        qd.qd_table_standard(table, m, s)


include "_simplify.pxi"

include "_formats.pxi"
