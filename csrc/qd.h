/* qdfast kernels: Quick, Draw! ndjson to columns, columns to model input.

   Common to all of them:
   - The caller owns every buffer. Nothing here allocates, prints, keeps state between calls or calls
     Python, so all functions may run on any number of threads at once on buffers of their own.
   - Offsets are int64 and count elements, not bytes. n drawings have n + 1 offsets, the first 0.
   - Only qd_scan, qd_check and the readers of other formats accept untrusted input (and qd_simplify, untrusted coordinates). Every other function
     trusts its arguments: a view must have passed qd_check (or come from qd_scan), row numbers must lie in range. */
#ifndef QD_H
#define QD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a batch of drawings ---------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *x, *y;            /* n_points coordinates 0..255 */
    const int64_t *stroke_offsets;   /* n_strokes + 1: points of stroke s are [s], [s + 1) */
    const int64_t *drawing_offsets;  /* n_drawings + 1: strokes of drawing i are [i], [i + 1) */
    int64_t n_points, n_strokes, n_drawings;
} qd_view;

/* 0 if the offsets are those of n_drawings drawings of at least one stroke of at least one point, which
   fill n_strokes and n_points exactly; -1 otherwise. Reads the offsets only. */
int qd_check(const qd_view *v);

/* ---- ndjson to columns -------------------------------------------------------------------------------- */

/* Bytes behind `data + len` that qd_scan may read (their values do not matter). */
#define QD_PADDING 64

/* Bytes behind x + cap_points and y + cap_points that qd_scan may write (it leaves nothing of use there). */
#define QD_SLACK 64

/* Levels of instructions that kernels may use, on x86-64 and on arm64. qd_level returns the highest that this CPU has;
   qd_level_name their names, NULL behind the last. */
enum { QD_PORTABLE = 0, QD_AVX2 = 1, QD_AVX512 = 2, QD_NEON = 1 };
#if defined(__x86_64__) && defined(__GNUC__)
#define QD_X86 1
#elif defined(__aarch64__) && defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define QD_ARM 1
#endif
int qd_level(void);
const char *qd_level_name(int level);

/* Upper bounds for what `len` bytes of ndjson can hold, rejected and half-read lines included. Words need as
   many codes as drawings and len bytes. */
size_t qd_max_points(size_t len);
size_t qd_max_strokes(size_t len);
size_t qd_max_drawings(size_t len);

#define QD_NOT_GIVEN 2              /* `recognized` where the line has none */
#define QD_NO_TIMESTAMP INT64_MIN   /* `timestamp` where the line has none */

/* The output of qd_scan(data, len), filled from the front. stroke_offsets[0] and drawing_offsets[0] must be 0. */
typedef struct {
    uint8_t *x, *y;            /* cap_points + QD_SLACK */
    int64_t *stroke_offsets;   /* cap_strokes + 1 */
    int64_t *drawing_offsets;  /* cap_drawings + 1 */
    uint64_t *key_id;          /* cap_drawings, as are the following; 0 where not given */
    int64_t *timestamp;        /* µs since 1970-01-01 UTC */
    int32_t *word;             /* code in qd_words */
    uint8_t *recognized;       /* 1, 0, QD_NOT_GIVEN */
    uint8_t *countrycode;      /* 2 * cap_drawings; NUL-padded */
    int64_t n_points, n_strokes, n_drawings;
    int64_t cap_points, cap_strokes, cap_drawings;
    uint8_t *text;             /* scratch: len + QD_SLACK */
    void *raw;                 /* for qd_scan_raw, scratch: qd_raw_scratch(raw_len), aligned as malloc aligns */
    size_t raw_len;            /* at least len */
} qd_columns;

/* Copy all drawings of `from` behind those of `to`, their words by way of codes (from's code -> to's). -1 if there is no
   room, and nothing is copied. Several threads may append to the same arrays at once, each with its own `to` whose
   n_... say where: they write to different places (but stroke_offsets[n_strokes] and drawing_offsets[n_drawings],
   which are not written, and must hold n_points and n_strokes when all is done). */
int qd_append(const qd_columns *from, const int32_t *codes, qd_columns *to);

/* The distinct words of a column, in order of first use: an open-addressing hash table. */
typedef struct {
    uint8_t *bytes;    /* cap_bytes */
    int64_t *offsets;  /* cap_words + 1; word w is bytes [w], [w + 1); offsets[0] must be 0 */
    int32_t *slots;    /* n_slots, a power of two >= 2 * cap_words; 0: free, else code + 1 */
    int64_t cap_bytes, cap_words, n_slots;
    int32_t n_words;
} qd_words;

/* The code of a word, added if new; -1 if the table is full. */
int32_t qd_word_code(qd_words *w, const uint8_t *word, size_t len);

/* Forget all words; touches only the slots in use. */
void qd_words_clear(qd_words *w);

/* Lines that were valid but filtered out, with the first QD_EXAMPLES of each kind. */
#define QD_EXAMPLES 5
enum { QD_NOT_RECOGNIZED = 0, QD_FIELD_MISSING = 1, QD_KINDS = 2 };
typedef struct {
    int64_t lines; /* line ends passed, blank lines included */
    int64_t count[QD_KINDS];
    int64_t example_line[QD_KINDS][QD_EXAMPLES];   /* 0-based, counted from tally.lines == 0 */
    int64_t example_offset[QD_KINDS][QD_EXAMPLES]; /* of the line's first byte in `data` */
} qd_tally;

enum {
    QD_END = 0,       /* all of data has been read */
    QD_UNCERTAIN = 1  /* the line at *pos may be invalid, or is unusual: give it to a JSON parser, continue after it */
};

/* Read lines of data[*pos .. len) into columns. The level changes the speed, nothing else.

   data[len - 1] must be '\n', and *pos the start of a line. Accepts only what it has validated to the last byte: one
   object a line, with white space wherever JSON allows it; the known keys at most once, in any order, null or with values
   as Google writes them (key_id and timestamp also as numbers, timestamp also as ISO 8601); unknown keys with any value
   that is nested less than 64 deep; strings in UTF-8, with escapes; drawings of at least two points, every stroke with as
   many y as x, integers 0..255. Lines as Google writes them are the fastest, white space in drawings comes next. Blank
   lines are skipped. With keep_any == 0 a line whose `recognized` is false or missing is counted in the tally instead.
   *pos is left after the last line that was processed; the columns contain nothing of a later line.
   Columns and words with the capacities qd_max_...(len) have room for all lines. With less, a line that does not fit
   is QD_UNCERTAIN. */
int qd_scan(int level, const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out, qd_words *words,
            qd_tally *tally);

/* ---- raw strokes to columns ----------------------------------------------------------------------------- */

/* A batch of drawings as they were drawn: coordinates in any unit, y growing in any direction. */
typedef struct {
    const double *x, *y;             /* n_points */
    const int64_t *stroke_offsets;   /* n_strokes + 1 */
    const int64_t *drawing_offsets;  /* n_drawings + 1 */
    int64_t n_points, n_strokes, n_drawings;
} qd_raw;

/* Upper bound of the output points per raw point. (Of the samples of a straight line, at most three are kept: its first,
   its last, and one where the reduction splits the stroke.) */
#define QD_SIMPLIFIED 3

/* Bytes of scratch, aligned as malloc aligns, for drawings whose longest stroke has `longest` points. */
size_t qd_simplify_scratch(int64_t longest);

/* Every drawing as in Google's simplified files: moved to minimum 0, scaled to maximum 255 (the larger of width and
   height), each stroke sampled at arc lengths 0, 1, 2, ... and at its end, reduced by Ramer-Douglas-Peucker with
   epsilon 2, rounded half to even. Every stroke keeps its first and last point, so a dot has its point twice. There are
   as many strokes as before: their offsets go to stroke_offsets (n_strokes + 1), their points to x and y
   (QD_SIMPLIFIED * n_points). `longest`: at least the points of the longest stroke. The raw offsets must be sound, as
   qd_check says; the coordinates may be anything.
   Returns n_drawings, or the number of the first drawing with a coordinate that is not finite: the output is then
   invalid. Results are the same on every platform if the compiler is told not to fuse products and sums
   (-ffp-contract=off). Time: about points * log(points) for what people draw; quadratic in the points of a stroke at
   worst. */
int64_t qd_simplify(const qd_raw *raw, void *scratch, int64_t longest, uint8_t *x, uint8_t *y,
                    int64_t *stroke_offsets);

/* Upper bounds for `len` bytes of raw ndjson, and the scratch that qd_scan_raw needs for them. */
size_t qd_max_raw_points(size_t len);
size_t qd_raw_scratch(size_t len);

/* Read the strokes of one raw drawing, "[[[x,...],[y,...],[t,...]],...]", to doubles, rounded to nearest. Their times, which
   may be missing, are checked and skipped. `p` is in a line that ends with '\n' and has QD_PADDING behind it. x and y take
   cap_points, stroke_offsets cap_strokes + 1. Returns the byte behind the last ']', or NULL: there is no room, or a JSON
   parser must decide. */
const uint8_t *qd_raw_strokes(const uint8_t *p, double *x, double *y, int64_t cap_points, int64_t *stroke_offsets,
                              int64_t cap_strokes, int64_t *n_strokes);

/* qd_scan for lines whose drawings are raw: qd_raw_strokes and qd_simplify. QD_SIMPLIFIED * qd_max_raw_points(len) is room
   for the points of all lines. */
int qd_scan_raw(const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out, qd_words *words,
                qd_tally *tally);

/* ---- columns to columns ------------------------------------------------------------------------------- */

/* Copy drawings rows[0..n) of v, in that order. x and y take the points of these drawings, stroke_offsets
   their strokes + 1, drawing_offsets n + 1. */
void qd_take(const qd_view *v, const int64_t *rows, int64_t n, uint8_t *x, uint8_t *y, int64_t *stroke_offsets,
             int64_t *drawing_offsets);

/* A 64-bit hash of each drawing's strokes: equal drawings have equal hashes, on every platform, for ever
   (the train/validation split depends on it). out: n_drawings. */
void qd_hash(const qd_view *v, uint64_t *out);

/* ---- deltas ------------------------------------------------------------------------------------------- */

/* Points of a drawing become steps (dx, dy, pen): the first relative to (0, 0), each other to the point
   before, also across strokes; pen is 1 on the last point of a stroke, else 0. A drawing is cut to max_len
   steps. With blank_zero != 0, a step with dx == dy == 0 becomes (0, 0, 0), as in the notebook. */

/* dx and dy have 511 values each: a table standardizes exactly, in double, rounded once. */
typedef struct {
    float dx[511], dy[511]; /* [d + 255] */
} qd_table;
void qd_table_raw(qd_table *t);                                              /* (float)d */
void qd_table_standard(qd_table *t, const double mean[2], const double std[2]); /* (float)((d - mean) / std) */

/* Padded: steps of drawing rows[i] of views[view_of[i]] to out[i * max_len * 3 ..], zeros behind the last
   step, its number of steps to lengths[i]. view_of == NULL: all of views[0]; rows == NULL: rows 0..n-1. */
void qd_deltas_f32(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t max_len,
                   int blank_zero, const qd_table *table, float *out, int32_t *lengths);
void qd_deltas_i16(const qd_view *views, const int32_t *view_of, const int64_t *rows, int64_t n, int64_t max_len,
                   int blank_zero, int16_t *out, int32_t *lengths);

/* Ragged: the steps of all drawings of v behind each other, drawing i at steps [offsets[i], offsets[i + 1]).
   offsets (n_drawings + 1) are input, and must leave room for min(points, max_len) steps each. */
void qd_ragged_f32(const qd_view *v, int64_t max_len, int blank_zero, const qd_table *table, const int64_t *offsets,
                   float *out);
void qd_ragged_i16(const qd_view *v, int64_t max_len, int blank_zero, const int64_t *offsets, int16_t *out);

/* Exact sums over the steps of many drawings; add them to merge. */
typedef struct {
    int64_t n, sum[2], sum_sq[2]; /* dx, dy */
} qd_stats;

/* Adds drawing i's steps (cut to max_len; with blank_zero without the steps dx == dy == 0) to
   out[group[i]], or to out[0] where group is NULL. */
void qd_delta_stats(const qd_view *v, const int32_t *group, int64_t max_len, int blank_zero, qd_stats *out);

/* ---- bitmaps -------------------------------------------------------------------------------------------- */

/* Pixels a side of a bitmap. */
#define QD_SIDE 28

/* Bytes of scratch, aligned as malloc aligns, for drawings whose longest stroke has `longest` points. */
size_t qd_bitmap_scratch(int64_t longest);

/* Drawings rows[0..n) of v (all where rows is NULL) as Google renders them for its numpy_bitmap files: white on black,
   each drawing's 28x28 pixels to out[i * 784 ..], row by row from the top. These are the bytes that cairo 1.16 makes of
   Google's recipe: a 256-unit canvas with 24 units around it scaled to 28 pixels, the drawing moved by
   (256 - its largest coordinate) / 2 on each axis, lines 16 units wide with round caps and joins, best antialiasing,
   each stroke blended over those before. `longest`: at least the points of the longest stroke among them. The level
   changes the speed, nothing else. */
void qd_bitmaps(int level, const qd_view *v, const int64_t *rows, int64_t n, int64_t longest, void *scratch,
                uint8_t *out);

/* ---- other formats ---------------------------------------------------------------------------------------- */

/* Google's binary files: records of key_id (8 bytes), countrycode (2), recognized (1), seconds since 1970 (4), number of
   strokes (2), then for each stroke its number of points (2), their x (1 each) and their y (1 each); all little-endian.
   As in ndjson, a key_id or a time of 0 is not given, and so is a recognized of QD_NOT_GIVEN. */

/* Bytes of the whole records at the front of data, up to the first that begins at `limit` or later. */
size_t qd_binary_whole(const uint8_t *data, size_t len, size_t limit);

/* 0 if no record starts like this: recognized is none of the three values, or countrycode not ASCII. */
int qd_binary_plausible(const uint8_t *data, size_t len);

enum {
    /* QD_END = 0 */
    QD_BINARY_DAMAGED = 1,   /* no record starts here, so that it is unknown where the next one does; *pos is len */
    QD_BINARY_CUT = 2,       /* data end within the record; *pos is len */
    QD_BINARY_NO_POINTS = 3, /* a record without points; *pos is behind it, as for the next */
    QD_BINARY_ONE_POINT = 4,
    QD_BINARY_NO_ROOM = 5    /* *pos is unchanged */
};

/* Read records of data[*pos .. len), untrusted, into columns, up to the first that is invalid: its start goes to *start.
   QD_PADDING bytes behind data + len may be read. Strokes without points are skipped and counted. With keep_any == 0 a
   drawing that is not recognized is counted in the tally instead, whose `lines` are records that were read. Columns and
   words that are sized for 3 * len bytes of ndjson have room for all. */
int qd_binary_read(const uint8_t *data, size_t len, size_t *pos, size_t *start, int keep_any, qd_columns *out,
                   qd_words *words, qd_tally *tally, int64_t *empty_strokes);

/* Where qd_json_lines is: all 0 at the start. */
typedef struct {
    int64_t depth;  /* brackets and braces that are open in the element */
    int64_t read;   /* bytes of earlier calls */
    int64_t start;  /* of the last element, in bytes from the start of the first call */
    uint8_t in_array, in_element, in_string, escaped;
} qd_json_state;

/* Turn JSON arrays, and objects that follow each other, into an element a line, in place and byte for byte: white space
   within elements becomes spaces; of the brackets, commas and white space between two elements the last becomes '\n' and
   the others '\r' or spaces. Untrusted data may be given in parts of any size. If depth, in_string or in_array is not 0 at
   the end, the last element or the array does not end. */
void qd_json_lines(uint8_t *data, size_t len, qd_json_state *s);

/* The columns of a table, by number: what each holds, at most one column each. */
#define QD_CSV_COLUMNS 64
enum { QD_CSV_OTHER, QD_CSV_DRAWING, QD_CSV_WORD, QD_CSV_COUNTRYCODE, QD_CSV_TIMESTAMP, QD_CSV_RECOGNIZED, QD_CSV_KEY_ID };
typedef struct {
    uint8_t delimiter;
    uint8_t column[QD_CSV_COLUMNS];
} qd_csv;

/* Room that a row may need besides 7 bytes for each of its own. */
#define QD_CSV_ROOM 256

/* Rows of a table (RFC 4180) as lines of JSON: fields in quotes, which are doubled within, rows that end with \n, \r\n or
   \r. Empty fields are left out, white space in drawings is dropped, True and False become true and false, times get
   Google's " UTC"; all other fields become strings. A row that is not a drawing becomes a line that is none. Untrusted data.
   Stops before a row that may not fit into `cap` bytes of out, and, unless `final`, before a row whose end is not there; if
   final, a quote without an end costs only the rest of its line. The bytes of rows that were read go to *used. Returns the
   bytes written. */
size_t qd_csv_lines(const uint8_t *data, size_t len, int final, const qd_csv *table, uint8_t *out, size_t cap,
                    size_t *used);

#ifdef __cplusplus
}
#endif
#endif
