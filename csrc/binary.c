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

static uint32_t read_u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }

static int starts_like_a_record(const uint8_t *p, size_t len) {
    return len <= RECOGNIZED || (p[RECOGNIZED] <= QD_NOT_GIVEN && p[8] < 128 && p[9] < 128);
}

int qd_binary_plausible(const uint8_t *data, size_t len) { return starts_like_a_record(data, len); }

size_t qd_binary_whole(const uint8_t *data, size_t len, size_t limit) {
    const uint8_t *record = data, *const end = data + len;
    while (record < end && (size_t)(record - data) < limit && end - record >= HEADER &&
           starts_like_a_record(record, HEADER)) {
        const uint8_t *p = record + HEADER;
        for (uint32_t left = read_u16(record + STROKES); left; left--) {
            const size_t n = end - p < 2 ? 0 : read_u16(p);
            if ((size_t)(end - p) < 2 + 2 * n) return (size_t)(record - data);
            p += 2 + 2 * n;
        }
        record = p;
    }
    return (size_t)(record - data);
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
    const size_t most = (len - *pos) / 2;
    if (word < 0 || (size_t)(out->cap_points - out->n_points) < most ||
        (size_t)(out->cap_strokes - out->n_strokes) < most / 2 ||
        (size_t)(out->cap_drawings - out->n_drawings) < most / (HEADER / 2 + 2)) {
        return QD_BINARY_NO_ROOM;
    }
    while (*pos < len) {
        const uint8_t *p = data + *pos, *const end = data + len;
        *start = *pos;
        if (!starts_like_a_record(p, len - *pos)) {
            *pos = len;
            return QD_BINARY_DAMAGED;
        }
        if (end - p < HEADER) {
            *pos = len;
            return QD_BINARY_CUT;
        }
        const uint8_t *const header = p;
        const uint32_t strokes = read_u16(p + STROKES);
        int64_t n_points = out->n_points, n_strokes = out->n_strokes;
        p += HEADER;
        for (uint32_t s = 0; s < strokes; s++) {
            const size_t n = end - p < 2 ? 0 : read_u16(p);
            if ((size_t)(end - p) < 2 + 2 * n) {
                *pos = len;
                return QD_BINARY_CUT;
            }
            copy(out->x + n_points, p + 2, n);
            copy(out->y + n_points, p + 2 + n, n);
            p += 2 + 2 * n;
            n_points += (int64_t)n;
            out->stroke_offsets[n_strokes + 1] = n_points;
            n_strokes += n > 0;
        }
        *pos = (size_t)(p - data);
        if (n_points - out->n_points < 2) {
            return n_points == out->n_points ? QD_BINARY_NO_POINTS : QD_BINARY_ONE_POINT;
        }
        if (!keep_any && header[RECOGNIZED] != 1) {
            const int kind = header[RECOGNIZED] == 0 ? QD_NOT_RECOGNIZED : QD_FIELD_MISSING;
            const int64_t e = tally->count[kind]++;
            if (e < QD_EXAMPLES) {
                tally->example_line[kind][e] = tally->lines;
                tally->example_offset[kind][e] = (int64_t)*start;
            }
            tally->lines++;
            continue;
        }
        const int64_t i = out->n_drawings++;
        const uint64_t seconds = read_le(header + 11, 4);
        *empty_strokes += (int64_t)strokes - (n_strokes - out->n_strokes);
        out->n_points = n_points;
        out->n_strokes = n_strokes;
        out->key_id[i] = read_le(header, 8);
        memcpy(out->countrycode + 2 * i, header + 8, 2);
        out->recognized[i] = header[RECOGNIZED];
        out->timestamp[i] = seconds ? (int64_t)seconds * 1000000 : QD_NO_TIMESTAMP;
        out->word[i] = word;
        out->drawing_offsets[i + 1] = n_strokes;
        tally->lines++;
    }
    return QD_END;
}
