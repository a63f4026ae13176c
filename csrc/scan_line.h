/* The grammar of a line, for every SIMD level. A scan_*.c defines QD_SCAN, its function's name, and

       static inline const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes);

   which reads "[[[x,...],[y,...]],...]": strokes behind what the columns hold; *n_points and *n_strokes are the columns'
   new fill. It returns the byte behind the last ']', or NULL if it is not certain, and may write QD_SLACK bytes behind the
   columns' capacity.

   Every line ends with '\n', which no token of the grammar contains, so a cursor that checks each byte before
   it steps over it cannot leave the line. What reads ahead stays within QD_PADDING. */
#include "scan_bytes.h"

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

static inline int two_digits(const uint8_t *p) {
    return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + (p[1] - '0') : -1;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, year >= 1 (H. Hinnant, "chrono-compatible low-level
   date algorithms"). */
static inline int64_t days_from_civil(int64_t y, int m, int d) {
    y -= m <= 2;
    const int64_t era = y / 400, yoe = y - era * 400;
    const int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static inline int days_in_month(int y, int m) {
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

/* field: year, month, day, hour, minute, second. 0 if there is no such moment. */
static inline int moment(const int field[6], int64_t fraction, int64_t *us) {
    if (field[0] < 1 || field[1] < 1 || field[1] > 12 || field[2] < 1 ||
        field[2] > days_in_month(field[0], field[1]) || field[3] > 23 || field[4] > 59 || field[5] > 59)
        return 0;
    const int64_t days = days_from_civil(field[0], field[1], field[2]);
    *us = (((days * 24 + field[3]) * 60 + field[4]) * 60 + field[5]) * 1000000 + fraction;
    return 1;
}

#if LITTLE_ENDIAN_WORDS

/* A timestamp with a fraction; `p` stands behind its opening quote. NULL says nothing. */
static inline const uint8_t *usual_timestamp(const uint8_t *p, int64_t *us) {
    const uint64_t a = load8(p), b = load8(p + 8), c = load8(p + 16), f = load8(p + 20);
    const uint64_t dash = 0xffu;
    /* dddd-dd- dd dd:dd :dd. */
    uint64_t wrong = (a ^ EIGHT(0, 0, 0, 0, '-', 0, 0, '-')) & (dash << 32 | dash << 56);
    wrong |= (b ^ EIGHT(0, 0, ' ', 0, 0, ':', 0, 0)) & (dash << 16 | dash << 40);
    wrong |= (c ^ EIGHT(':', 0, 0, '.', 0, 0, 0, 0)) & (dash | dash << 24);
    wrong |= no_digits(a) & ~(dash << 32 | dash << 56);
    wrong |= no_digits(b) & ~(dash << 16 | dash << 40);
    wrong |= no_digits(c) & (dash << 8 | dash << 16);
    const uint64_t end = no_digits(f);
    if (wrong || !end) return NULL;
    const int digits = __builtin_ctzll(end) >> 3;
    if (digits < 1 || digits > 6 || !BEGINS(p + 20 + digits, 5, EIGHT(' ', 'U', 'T', 'C', '"', 0, 0, 0))) return NULL;
    const uint64_t low = 0x0f0f0f0f0f0f0f0fu;
    const uint64_t pa = (a & low) * 10 + ((a & low) >> 8), pb = (b & low) * 10 + ((b & low) >> 8);
    const uint64_t pc = (c & low) * 10 + ((c & low) >> 8); /* byte i: digits i and i + 1 as a number */
    const int field[6] = {(int)(pa & 0xff) * 100 + (int)(pa >> 16 & 0xff), (int)(pa >> 40 & 0xff), (int)(pb & 0xff),
                          (int)(pb >> 24 & 0xff), (int)(pb >> 48 & 0xff), (int)(pc >> 8 & 0xff)};
    const int64_t fraction = (int64_t)eight_digits(f & (((uint64_t)1 << 8 * digits) - 1)) / 100;
    return moment(field, fraction, us) ? p + 25 + digits : NULL;
}

#else
static inline const uint8_t *usual_timestamp(const uint8_t *p, int64_t *us) {
    (void)p, (void)us;
    return NULL;
}
#endif

/* 2017-03-02 23:25:10.07453 UTC" with one to six digits of fraction, or none and no point.
   Field by field: none looks behind the first byte that does not fit. */
static const uint8_t *any_timestamp(const uint8_t *p, int64_t *us) {
    static const char separators[6] = {'-', '-', ' ', ':', ':', 0};
    int field[6];
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
    return moment(field, fraction, us) ? p : NULL;
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
    case TIMESTAMP: {
        if (*p++ != '"') return NULL;
        const uint8_t *next = usual_timestamp(p, &v->timestamp);
        return next ? next : any_timestamp(p, &v->timestamp);
    }
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

/* What follows a line's last value; returns the byte behind the '\n'. */
static inline const uint8_t *line_end(const uint8_t *p) {
    if (*p++ != '}') return NULL;
    if (*p == '\r') p++;
    return *p == '\n' ? p + 1 : NULL;
}

/* A whole line of any keys in any order; `p` stands on its '{'. Returns the byte behind its '\n'. */
static const uint8_t *any_line(const uint8_t *p, line_values *v, qd_columns *out) {
    unsigned seen = 0;
    do {
        const uint8_t *key_end, *key = ++p + 1;
        if (*p != '"' || !(p = plain_string(key, &key_end)) || *p++ != ':') return NULL;
        const int which = which_key(key, (size_t)(key_end - key));
        if (which != UNKNOWN && seen & 1u << which) return NULL;
        seen |= 1u << which;
        if (!(p = member(p, which, v, out))) return NULL;
    } while (*p == ',');
    return seen & 1u << DRAWING ? line_end(p) : NULL;
}

#if LITTLE_ENDIAN_WORDS

/* A line with its keys in Google's order; NULL says nothing. */
static inline const uint8_t *usual_line(const uint8_t *p, line_values *v, qd_columns *out) {
    if (load8(p) != EIGHT('{', '"', 'w', 'o', 'r', 'd', '"', ':') || p[8] != '"') return NULL;
    v->word = p + 9;
    if (!(p = plain_string(p + 9, &v->word_end))) return NULL;
    if (load8(p) != EIGHT(',', '"', 'c', 'o', 'u', 'n', 't', 'r') ||
        load8(p + 8) != EIGHT('y', 'c', 'o', 'd', 'e', '"', ':', '"'))
        return NULL;
    v->countrycode[0] = p[16];
    v->countrycode[1] = p[17];
    for (int i = 16; i < 18; i++)
        if (p[i] < 0x20 || p[i] >= 0x80 || p[i] == '"' || p[i] == '\\') return NULL;
    if (load8(p + 18) != EIGHT('"', ',', '"', 't', 'i', 'm', 'e', 's') ||
        !BEGINS(p + 26, 7, EIGHT('t', 'a', 'm', 'p', '"', ':', '"', 0)))
        return NULL;
    if (!(p = usual_timestamp(p + 33, &v->timestamp))) return NULL;
    if (load8(p) != EIGHT(',', '"', 'r', 'e', 'c', 'o', 'g', 'n') || !BEGINS(p + 8, 6, EIGHT('i', 'z', 'e', 'd', '"', ':', 0, 0)))
        return NULL;
    v->recognized = p[14] == 't';
    const uint64_t value = v->recognized ? EIGHT('t', 'r', 'u', 'e', ',', 0, 0, 0) : EIGHT('f', 'a', 'l', 's', 'e', 0, 0, 0);
    if (!BEGINS(p + 14, 5, value)) return NULL;
    p += 19 - v->recognized;
    if (load8(p) != EIGHT(',', '"', 'k', 'e', 'y', '_', 'i', 'd') || !BEGINS(p + 8, 3, EIGHT('"', ':', '"', 0, 0, 0, 0, 0)))
        return NULL;
    p += 11;
    if (p[16] == '"' && !(no_digits(load8(p)) | no_digits(load8(p + 8)))) {
        v->key_id = eight_digits(load8(p)) * 100000000 + eight_digits(load8(p + 8));
        p += 16;
    } else if (!(p = unsigned_digits(p, 19, &v->key_id)) || *p != '"')
        return NULL;
    if (load8(p) != EIGHT('"', ',', '"', 'd', 'r', 'a', 'w', 'i') || !BEGINS(p + 8, 4, EIGHT('n', 'g', '"', ':', 0, 0, 0, 0)))
        return NULL;
    return (p = drawing(p + 12, out, &v->n_points, &v->n_strokes)) ? line_end(p) : NULL;
}

#else
static inline const uint8_t *usual_line(const uint8_t *p, line_values *v, qd_columns *out) {
    (void)p, (void)v, (void)out;
    return NULL;
}
#endif

static void note(qd_tally *tally, int kind, size_t offset) {
    const int64_t k = tally->count[kind]++;
    if (k < QD_EXAMPLES) {
        tally->example_line[kind][k] = tally->lines;
        tally->example_offset[kind][k] = (int64_t)offset;
    }
}

int QD_SCAN(const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out, qd_words *words,
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
        /* Hardware prefetching alone leaves half of the speed to memory. */
        for (int i = 0; i < 512; i += 64) __builtin_prefetch(p + 2048 + i);
        line_values v;
        const uint8_t *next = usual_line(p, &v, out);
        if (!next) {
            v = (line_values){.word = p, .word_end = p, .timestamp = QD_NO_TIMESTAMP, .recognized = QD_NOT_GIVEN};
            next = any_line(p, &v, out);
        }
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
