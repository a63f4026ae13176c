/* The line scanner, portable C. See qd.h.

   Every line ends with '\n', which no token of the grammar contains, so a cursor that checks each byte before
   it steps over it cannot leave the line: there are no bounds checks in here but those of the output. */
#include "qd.h"

#include <string.h>

size_t qd_max_points(size_t len) { return len / 2 + 1; }   /* "0," of an x list whose y list is still to come */
size_t qd_max_strokes(size_t len) { return len / 9 + 1; }  /* "[[0],[0]]" */
size_t qd_max_drawings(size_t len) { return len / 27 + 1; } /* {"drawing":[[[0,0],[0,0]]]} and '\n' */

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* ---- words ---- */

static uint64_t word_hash(const uint8_t *s, size_t len) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < len; i++) h = (h ^ s[i]) * 0x100000001b3u;
    return h ^ (h >> 32);
}

static inline int is_word(const qd_words *w, int32_t code, const uint8_t *word, size_t len) {
    const int64_t at = w->offsets[code];
    return (size_t)(w->offsets[code + 1] - at) == len && memcmp(w->bytes + at, word, len) == 0;
}

int32_t qd_word_code(qd_words *w, const uint8_t *word, size_t len) {
    const uint64_t mask = (uint64_t)w->n_slots - 1;
    uint64_t slot = word_hash(word, len) & mask;
    for (; w->slots[slot]; slot = (slot + 1) & mask)
        if (is_word(w, w->slots[slot] - 1, word, len)) return w->slots[slot] - 1;
    const int64_t at = w->offsets[w->n_words];
    if (w->n_words >= w->cap_words || (int64_t)len > w->cap_bytes - at) return -1;
    if (len) memcpy(w->bytes + at, word, len);
    w->offsets[w->n_words + 1] = at + (int64_t)len;
    w->slots[slot] = ++w->n_words;
    return w->n_words - 1;
}

void qd_words_clear(qd_words *w) {
    const uint64_t mask = (uint64_t)w->n_slots - 1;
    for (int32_t code = 0; code < w->n_words; code++) {
        const int64_t at = w->offsets[code];
        uint64_t slot = word_hash(w->bytes + at, (size_t)(w->offsets[code + 1] - at)) & mask;
        while (w->slots[slot] != code + 1) slot = (slot + 1) & mask;
        w->slots[slot] = -1; /* not 0 yet: it would cut the probe chains of the words still to be found */
    }
    for (int32_t code = 0; code < w->n_words; code++) {
        const int64_t at = w->offsets[code];
        uint64_t slot = word_hash(w->bytes + at, (size_t)(w->offsets[code + 1] - at)) & mask;
        while (w->slots[slot] == -1) {
            w->slots[slot] = 0;
            slot = (slot + 1) & mask;
        }
    }
    w->n_words = 0;
}

/* ---- values: each returns the byte behind the value, or NULL if it is not certain of it ---- */

/* A string without escapes, ASCII. `p` stands behind the opening quote; *end is the closing one. */
static inline const uint8_t *plain_string(const uint8_t *p, const uint8_t **end) {
    while (*p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
    *end = p;
    return *p == '"' ? p + 1 : NULL;
}

static const uint8_t *unsigned_digits(const uint8_t *p, int max_digits, uint64_t *value) {
    uint64_t v = 0;
    const uint8_t *start = p;
    while (is_digit(*p) && p - start < max_digits) v = v * 10 + (uint64_t)(*p++ - '0');
    *value = v;
    return p > start ? p : NULL;
}

static int two_digits(const uint8_t *p) {
    return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + (p[1] - '0') : -1;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, year >= 1 (H. Hinnant, "chrono-compatible low-level
   date algorithms"). */
static int64_t days_from_civil(int64_t y, int m, int d) {
    y -= m <= 2;
    const int64_t era = y / 400, yoe = y - era * 400;
    const int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int days_in_month(int y, int m) {
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

/* 2017-03-02 23:25:10.07453 UTC" with one to six digits of fraction, or none and no point.
   Reads field by field: the reader of a field never looks behind the first byte that does not fit. */
static const uint8_t *timestamp(const uint8_t *p, int64_t *us) {
    static const char separators[6] = {'-', '-', ' ', ':', ':', 0};
    int field[6]; /* year, month, day, hour, minute, second */
    for (int i = 0; i < 6; i++) {
        int v = two_digits(p);
        if (v < 0) return NULL;
        p += 2;
        if (i == 0) {
            const int low = two_digits(p);
            if (low < 0) return NULL;
            v = v * 100 + low;
            p += 2;
        }
        field[i] = v;
        if (separators[i] && *p++ != separators[i]) return NULL;
    }
    if (field[0] < 1 || field[1] < 1 || field[1] > 12 || field[2] < 1 ||
        field[2] > days_in_month(field[0], field[1]) || field[3] > 23 || field[4] > 59 || field[5] > 59)
        return NULL;
    int64_t fraction = 0;
    if (*p == '.') {
        const uint8_t *start = ++p;
        uint64_t digits;
        if (!(p = unsigned_digits(p, 6, &digits))) return NULL;
        fraction = (int64_t)digits;
        for (int64_t n = p - start; n < 6; n++) fraction *= 10;
    }
    for (const char *tail = " UTC\""; *tail; tail++)
        if (*p++ != (uint8_t)*tail) return NULL;
    const int64_t days = days_from_civil(field[0], field[1], field[2]);
    *us = (((days * 24 + field[3]) * 60 + field[4]) * 60 + field[5]) * 1000000 + fraction;
    return p;
}

/* [n,n,...]: at least one, at most `cap` integers 0..255 to out. `p` stands behind the '['. */
static inline const uint8_t *coordinates(const uint8_t *p, uint8_t *out, int64_t cap, int64_t *n) {
    int64_t i = 0;
    for (;;) {
        unsigned v = (uint8_t)(p[0] - '0');
        if (v > 9 || i == cap) return NULL;
        unsigned next = (uint8_t)(p[1] - '0');
        p++;
        if (next <= 9) {
            if (v == 0) return NULL; /* 07 is not JSON */
            v = v * 10 + next;
            next = (uint8_t)(p[1] - '0');
            p++;
            if (next <= 9) {
                v = v * 10 + next;
                if (v > 255) return NULL;
                p++;
            }
        }
        out[i++] = (uint8_t)v;
        if (*p == ',')
            p++;
        else {
            *n = i;
            return *p == ']' ? p + 1 : NULL; /* a fourth digit ends here, too */
        }
    }
}

/* [[[x,...],[y,...]],...]: strokes to the columns, behind what they hold; *n_points and *n_strokes are the
   columns' new fill. */
static const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes) {
    int64_t points = out->n_points, strokes = out->n_strokes;
    if (*p++ != '[') return NULL;
    for (;;) {
        int64_t nx, ny;
        if (p[0] != '[' || p[1] != '[') return NULL;
        if (!(p = coordinates(p + 2, out->x + points, out->cap_points - points, &nx))) return NULL;
        if (p[0] != ',' || p[1] != '[') return NULL;
        if (!(p = coordinates(p + 2, out->y + points, nx, &ny)) || nx != ny) return NULL;
        if (*p++ != ']' || strokes == out->cap_strokes) return NULL;
        points += nx;
        out->stroke_offsets[++strokes] = points;
        if (*p == ',') {
            p++;
            continue;
        }
        *n_points = points;
        *n_strokes = strokes;
        return *p == ']' && points - out->n_points >= 2 ? p + 1 : NULL;
    }
}

static const uint8_t *literal(const uint8_t *p, const char *word) {
    for (; *word; word++)
        if (*p++ != (uint8_t)*word) return NULL;
    return p;
}

/* The value of a key that nobody asked for. */
static const uint8_t *ignored_value(const uint8_t *p) {
    const uint8_t *end;
    uint64_t value;
    switch (*p) {
    case '"': return plain_string(p + 1, &end);
    case 't': return literal(p, "true");
    case 'f': return literal(p, "false");
    case 'n': return literal(p, "null");
    case '0': return p + 1;
    default: return unsigned_digits(p, 15, &value);
    }
}

/* ---- a line ---- */

enum { WORD, COUNTRYCODE, TIMESTAMP, RECOGNIZED, KEY_ID, DRAWING, UNKNOWN };

static int which_key(const uint8_t *key, size_t len) {
    switch (len) {
    case 4: return memcmp(key, "word", 4) == 0 ? WORD : UNKNOWN;
    case 6: return memcmp(key, "key_id", 6) == 0 ? KEY_ID : UNKNOWN;
    case 7: return memcmp(key, "drawing", 7) == 0 ? DRAWING : UNKNOWN;
    case 9: return memcmp(key, "timestamp", 9) == 0 ? TIMESTAMP : UNKNOWN;
    case 10: return memcmp(key, "recognized", 10) == 0 ? RECOGNIZED : UNKNOWN;
    case 11: return memcmp(key, "countrycode", 11) == 0 ? COUNTRYCODE : UNKNOWN;
    default: return UNKNOWN;
    }
}

typedef struct {
    const uint8_t *word, *word_end;
    uint64_t key_id;
    int64_t timestamp, n_points, n_strokes;
    uint8_t countrycode[2], recognized;
} line_values;

/* One member's value; `p` stands on its first byte. */
static const uint8_t *member(const uint8_t *p, int key, line_values *v, qd_columns *out) {
    const uint8_t *end;
    switch (key) {
    case WORD:
        if (*p++ != '"') return NULL;
        v->word = p;
        return plain_string(p, &v->word_end);
    case COUNTRYCODE: {
        if (*p++ != '"') return NULL;
        const uint8_t *start = p;
        if (!(p = plain_string(p, &end)) || end - start > 2) return NULL;
        for (int i = 0; i < end - start; i++) v->countrycode[i] = start[i];
        return p;
    }
    case TIMESTAMP: return *p == '"' ? timestamp(p + 1, &v->timestamp) : NULL;
    case RECOGNIZED:
        v->recognized = *p == 't';
        return literal(p, v->recognized ? "true" : "false");
    case KEY_ID:
        if (*p++ != '"' || !(p = unsigned_digits(p, 19, &v->key_id)) || *p != '"') return NULL;
        return p + 1;
    case DRAWING: return drawing(p, out, &v->n_points, &v->n_strokes);
    default: return ignored_value(p);
    }
}

/* A whole line; `p` stands on its '{'. Returns the byte behind its '\n'. */
static const uint8_t *line(const uint8_t *p, line_values *v, qd_columns *out) {
    unsigned seen = 0;
    do {
        const uint8_t *key_end, *key = ++p + 1;
        if (*p != '"' || !(p = plain_string(key, &key_end)) || *p++ != ':') return NULL;
        const int which = which_key(key, (size_t)(key_end - key));
        if (which != UNKNOWN && seen & 1u << which) return NULL;
        seen |= 1u << which;
        if (!(p = member(p, which, v, out))) return NULL;
    } while (*p == ',');
    if (*p++ != '}' || !(seen & 1u << DRAWING)) return NULL;
    if (*p == '\r') p++;
    return *p == '\n' ? p + 1 : NULL;
}

static void note(qd_tally *tally, int kind, size_t offset) {
    const int64_t k = tally->count[kind]++;
    if (k < QD_EXAMPLES) {
        tally->example_line[kind][k] = tally->lines;
        tally->example_offset[kind][k] = (int64_t)offset;
    }
}

int qd_scan(const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out, qd_words *words,
            qd_tally *tally) {
    const uint8_t *const end = data + len;
    const uint8_t *p = data + *pos;
    for (; p < end; *pos = (size_t)(p - data), tally->lines++) {
        if (*p != '{') {
            const uint8_t *q = p;
            while (*q == ' ' || *q == '\t' || *q == '\r') q++;
            if (*q != '\n') return QD_UNCERTAIN;
            p = q + 1;
            continue;
        }
        line_values v = {.word = p, .word_end = p, .timestamp = QD_NO_TIMESTAMP, .recognized = QD_NOT_GIVEN};
        const uint8_t *const next = line(p, &v, out);
        if (!next || out->n_drawings == out->cap_drawings) return QD_UNCERTAIN;
        if (!keep_any && v.recognized != 1) {
            note(tally, v.recognized == 0 ? QD_NOT_RECOGNIZED : QD_FIELD_MISSING, *pos);
            p = next;
            continue;
        }
        const int32_t word = qd_word_code(words, v.word, (size_t)(v.word_end - v.word));
        if (word < 0) return QD_UNCERTAIN;
        const int64_t i = out->n_drawings++;
        out->key_id[i] = v.key_id;
        out->timestamp[i] = v.timestamp;
        out->word[i] = word;
        out->recognized[i] = v.recognized;
        memcpy(out->countrycode + 2 * i, v.countrycode, 2);
        out->n_points = v.n_points;
        out->n_strokes = v.n_strokes;
        out->drawing_offsets[i + 1] = v.n_strokes;
        p = next;
    }
    return QD_END;
}
