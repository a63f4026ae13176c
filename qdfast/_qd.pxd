# Mirrors csrc/qd.h, which is the manual.
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t

cdef extern from "qd.h" nogil:
    ctypedef struct qd_view:
        const uint8_t *x
        const uint8_t *y
        const int64_t *stroke_offsets
        const int64_t *drawing_offsets
        int64_t n_points
        int64_t n_strokes
        int64_t n_drawings

    int qd_check(const qd_view *v)

    enum: QD_PADDING
    enum: QD_SLACK
    enum: QD_PORTABLE
    enum: QD_AVX2
    enum: QD_AVX512
    int qd_level()
    const char *qd_level_name(int level)
    size_t qd_max_points(size_t len)
    size_t qd_max_strokes(size_t len)
    size_t qd_max_drawings(size_t len)

    ctypedef struct qd_columns:
        uint8_t *x
        uint8_t *y
        int64_t *stroke_offsets
        int64_t *drawing_offsets
        uint64_t *key_id
        int64_t *timestamp
        int32_t *word
        uint8_t *recognized
        uint8_t *countrycode
        uint8_t *text
        void *raw
        size_t raw_len
        int64_t n_points
        int64_t n_strokes
        int64_t n_drawings
        int64_t cap_points
        int64_t cap_strokes
        int64_t cap_drawings

    int qd_append(const qd_columns *source, const int32_t *codes, qd_columns *to)

    ctypedef struct qd_words:
        uint8_t *bytes
        int64_t *offsets
        int32_t *slots
        int64_t cap_bytes
        int64_t cap_words
        int64_t n_slots
        int32_t n_words

    int32_t qd_word_code(qd_words *w, const uint8_t *word, size_t len)
    void qd_words_clear(qd_words *w)

    enum: QD_EXAMPLES
    enum: QD_KINDS

    ctypedef struct qd_tally:
        int64_t lines
        int64_t count[2]
        int64_t example_line[2][5]
        int64_t example_offset[2][5]

    enum: QD_END
    enum: QD_UNCERTAIN
    int qd_scan(int level, const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out,
                qd_words *words, qd_tally *tally)

    ctypedef struct qd_raw:
        const double *x
        const double *y
        const int64_t *stroke_offsets
        const int64_t *drawing_offsets
        int64_t n_points
        int64_t n_strokes
        int64_t n_drawings

    enum: QD_SIMPLIFIED
    size_t qd_simplify_scratch(int64_t longest)
    int64_t qd_simplify(const qd_raw *raw, void *scratch, int64_t longest, uint8_t *x, uint8_t *y,
                        int64_t *stroke_offsets)

    size_t qd_max_raw_points(size_t len)
    size_t qd_raw_scratch(size_t len)
    const uint8_t *qd_raw_strokes(const uint8_t *p, double *x, double *y, int64_t cap_points, int64_t *stroke_offsets,
                                  int64_t cap_strokes, int64_t *n_strokes)
    int qd_scan_raw(const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out, qd_words *words,
                    qd_tally *tally)

    void qd_take(const qd_view *v, const int64_t *rows, int64_t n, uint8_t *x, uint8_t *y, int64_t *stroke_offsets,
                 int64_t *drawing_offsets)
    void qd_hash(const qd_view *v, uint64_t *out)

    ctypedef struct qd_table:
        float dx[511]
        float dy[511]
    void qd_table_raw(qd_table *t)
    void qd_table_standard(qd_table *t, const double *mean, const double *std)

    void qd_deltas_f32(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t max_len,
                       int blank_zero, const qd_table *table, float *out, int32_t *lengths)
    void qd_deltas_i16(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t max_len,
                       int blank_zero, int16_t *out, int32_t *lengths)
    void qd_ragged_f32(const qd_view *v, int64_t max_len, int blank_zero, const qd_table *table,
                       const int64_t *offsets, float *out)
    void qd_ragged_i16(const qd_view *v, int64_t max_len, int blank_zero, const int64_t *offsets, int16_t *out)

    ctypedef struct qd_stats:
        int64_t n
        int64_t sum[2]
        int64_t sum_sq[2]
    void qd_delta_stats(const qd_view *v, const int32_t *group, int64_t max_len, int blank_zero, qd_stats *out)

    enum: QD_SIDE
    size_t qd_bitmap_scratch(int64_t longest)
    void qd_bitmaps(int level, const qd_view *v, const int64_t *rows, int64_t n, int64_t longest, void *scratch,
                    uint8_t *out)

    size_t qd_binary_whole(const uint8_t *data, size_t len, size_t limit)
    int qd_binary_plausible(const uint8_t *data, size_t len)
    enum: QD_BINARY_NO_ROOM
    int qd_binary_read(const uint8_t *data, size_t len, size_t *pos, size_t *start, int keep_any, qd_columns *out,
                       qd_words *words, qd_tally *tally, int64_t *empty_strokes)

    ctypedef struct qd_json_state:
        int64_t depth
        int64_t read
        int64_t start
        uint8_t in_array
        uint8_t in_element
        uint8_t in_string
        uint8_t escaped
    void qd_json_lines(uint8_t *data, size_t len, qd_json_state *s)

    enum: QD_CSV_COLUMNS
    enum: QD_CSV_ROOM
    ctypedef struct qd_csv:
        uint8_t delimiter
        uint8_t column[64]
    size_t qd_csv_lines(const uint8_t *data, size_t len, int final, const qd_csv *table, uint8_t *out, size_t cap,
                        size_t *used)
