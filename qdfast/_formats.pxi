"""Part of _core.pyx: binary files and JSON arrays."""

BINARY_REJECTS = ("", "damaged", "cut_short", "no_points", "fewer_than_two_points")  # by what qd_binary_read returns


def binary_whole(const uint8_t[::1] data, size_t size, size_t limit):
    """Bytes of the whole records at the front of ``data[:size]``; see qd_binary_whole."""
    _check(<size_t>data.shape[0] < size, "size is larger than the data")
    return qd.qd_binary_whole(&data[0], size, limit) if size else 0


def binary_plausible(const uint8_t[::1] data, size_t start, size_t size):
    """Whether a record may start at ``data[start:size]``; see qd_binary_plausible."""
    _check(<size_t>data.shape[0] < size or start > size, "size is larger than the data")
    return start == size or bool(qd.qd_binary_plausible(&data[start], size - start))


def binary_read(Columns columns, const uint8_t[::1] data, size_t size, size_t pos, bint keep_any):
    """Read records of ``data[pos:size]`` into columns, up to the first that is invalid.

    ``PADDING`` readable bytes must follow ``data[:size]``. Returns the reason, "" if all were read; the start of the
    invalid record; where to go on; the number of empty strokes.
    """
    cdef size_t start = pos
    cdef int64_t empty = 0
    cdef int code
    _check(<size_t>data.shape[0] < size + qd.QD_PADDING or pos > size or 3 * size > columns.capacity,
           "block without padding, or larger than a third of the columns' capacity")
    if pos == size:
        return "", start, pos, 0
    with nogil:
        code = qd.qd_binary_read(&data[0], size, &pos, &start, keep_any, &columns.c, &columns.w, &columns.t, &empty)
    _check(code == qd.QD_BINARY_NO_ROOM, NO_ROOM)
    return BINARY_REJECTS[code], start, pos, empty


cdef class JsonLines:
    """Turns JSON arrays into an element a line, in place; see qd_json_lines."""

    cdef qd.qd_json_state s

    def feed(self, uint8_t[::1] data):
        """Convert the next bytes."""
        if data.shape[0]:
            with nogil:
                qd.qd_json_lines(&data[0], data.shape[0], &self.s)

    @property
    def in_array(self):
        """Whether an array has no end yet."""
        return bool(self.s.in_array)

    @property
    def start(self):
        """Where the last element starts, in bytes."""
        return self.s.start


CSV_FIELDS = ("", "drawing", "word", "countrycode", "timestamp", "recognized", "key_id")  # as qd.h numbers them
CSV_ROOM = qd.QD_CSV_ROOM


def csv_lines(const uint8_t[::1] data, size_t start, size_t size, bint final, int delimiter, columns, uint8_t[::1] out):
    """Convert the rows in ``data[start:size]`` to lines in ``out``; see qd_csv_lines.

    ``columns`` are the names of the columns. Returns the end of what was read, and the bytes written.
    """
    cdef qd.qd_csv table
    cdef size_t used = 0, written = 0
    _check(<size_t>data.shape[0] < size or start > size or out.shape[0] == 0, "size is larger than the data, or no room")
    memset(&table, 0, sizeof(table))
    table.delimiter = delimiter
    for i, name in enumerate(columns[:qd.QD_CSV_COLUMNS]):
        if name and name in CSV_FIELDS and name not in columns[:i]:
            table.column[i] = CSV_FIELDS.index(name)
    if start < size:
        with nogil:
            written = qd.qd_csv_lines(&data[start], size - start, final, &table, &out[0], out.shape[0], &used)
    return start + used, written
