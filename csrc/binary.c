/* Google's binary files to columns. */
#include "qd.h"

#include <string.h>

enum { HEADER = 17, RECOGNIZED = 10, STROKES = 15 }; /* bytes of a record before its strokes; offsets in them */

/* Little-endian whatever the machine is; compilers make one load of it. */
static uint64_t read_le(const uint8_t *p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

/* Bytes of the record at data, with its strokes that have points and their points; 0: `len` bytes do not hold all of it.
   -1: this is not the start of a record. */
static int64_t record_size(const uint8_t *data, size_t len, int64_t *n_strokes, int64_t *n_points) {
    if (len > RECOGNIZED && (data[RECOGNIZED] > QD_NOT_GIVEN || data[8] > 127 || data[9] > 127)) return -1;
    if (len < HEADER) return 0;
    size_t at = HEADER;
    int64_t strokes = 0, points = 0;
    for (uint64_t left = read_le(data + STROKES, 2); left; left--) {
        if (len - at < 2) return 0;
        size_t n = read_le(data + at, 2);
        at += 2;
        if (len - at < 2 * n) return 0;
        at += 2 * n;
        strokes += n > 0;
        points += (int64_t)n;
    }
    *n_strokes = strokes;
    *n_points = points;
    return (int64_t)at;
}

size_t qd_binary_whole(const uint8_t *data, size_t len, size_t limit) {
    size_t at = 0;
    int64_t strokes, points, size;
    while (at < len && at < limit && (size = record_size(data + at, len - at, &strokes, &points)) > 0) at += (size_t)size;
    return at;
}

int qd_binary_plausible(const uint8_t *data, size_t len) {
    int64_t strokes, points;
    return record_size(data, len, &strokes, &points) >= 0;
}

/* Copy n bytes; up to 63 more may be read and written. */
static void copy(uint8_t *to, const uint8_t *from, size_t n) {
    if (n <= 16) memcpy(to, from, 16);
    else if (n <= 64) memcpy(to, from, 64);
    else memcpy(to, from, n);
}

int qd_binary_read(const uint8_t *data, size_t len, size_t *pos, size_t *start, int keep_any, qd_columns *out,
                   qd_words *words, qd_tally *tally, int64_t *empty_strokes) {
    const int32_t word = qd_word_code(words, data, 0);
    if (word < 0) return QD_BINARY_NO_ROOM;
    while (*pos < len) {
        int64_t n_strokes = 0, n_points = 0;
        const size_t at = *start = *pos;
        const uint8_t *p = data + at;
        const int64_t size = record_size(p, len - at, &n_strokes, &n_points);
        if (size <= 0) {
            *pos = len;
            return size ? QD_BINARY_DAMAGED : QD_BINARY_CUT;
        }
        *pos = at + (size_t)size;
        if (n_points < 2) return n_points ? QD_BINARY_ONE_POINT : QD_BINARY_NO_POINTS;
        if (!keep_any && p[RECOGNIZED] != 1) {
            const int kind = p[RECOGNIZED] == 0 ? QD_NOT_RECOGNIZED : QD_FIELD_MISSING;
            const int64_t e = tally->count[kind]++;
            if (e < QD_EXAMPLES) {
                tally->example_line[kind][e] = tally->lines;
                tally->example_offset[kind][e] = (int64_t)at;
            }
            tally->lines++;
            continue;
        }
        if (out->cap_points - out->n_points < n_points || out->cap_strokes - out->n_strokes < n_strokes ||
            out->n_drawings == out->cap_drawings) {
            *pos = at;
            return QD_BINARY_NO_ROOM;
        }
        const int64_t i = out->n_drawings++;
        const uint64_t seconds = read_le(p + 11, 4);
        uint64_t strokes = read_le(p + STROKES, 2);
        *empty_strokes += (int64_t)strokes - n_strokes;
        out->key_id[i] = read_le(p, 8);
        memcpy(out->countrycode + 2 * i, p + 8, 2);
        out->recognized[i] = p[RECOGNIZED];
        out->timestamp[i] = seconds ? (int64_t)seconds * 1000000 : QD_NO_TIMESTAMP;
        out->word[i] = word;
        for (p += HEADER; strokes; strokes--) {
            const size_t n = read_le(p, 2);
            copy(out->x + out->n_points, p + 2, n);
            copy(out->y + out->n_points, p + 2 + n, n);
            p += 2 + 2 * n;
            if (!n) continue;
            out->n_points += (int64_t)n;
            out->stroke_offsets[++out->n_strokes] = out->n_points;
        }
        out->drawing_offsets[i + 1] = out->n_strokes;
        tally->lines++;
    }
    return QD_END;
}
