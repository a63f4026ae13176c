/* The grammar of a line, for every SIMD level. A scan_*.c defines QD_SCAN, its function's name, and

       static inline const uint8_t *drawing(const uint8_t *p, qd_columns *out, int64_t *n_points, int64_t *n_strokes);
       static inline const uint8_t *spaced_drawing(const uint8_t *p, uint8_t *text, qd_columns *out, int64_t *n_points,
                                                   int64_t *n_strokes);

   which read "[[[x,...],[y,...]],...]": strokes behind what the columns hold; *n_points and *n_strokes are the columns'
   new fill. They return the byte behind the last ']', or NULL if they are not certain, and may write QD_SLACK bytes behind
   the columns' capacity. spaced_drawing is for white space between the tokens; `text` is scratch for the rest of the line.

   A line is read as Google writes it as far as it goes, and from the first member that is different as any JSON object.

   Every line ends with '\n', which no token of the grammar contains, so a cursor that checks each byte before
   it steps over it cannot leave the line. What reads ahead stays within QD_PADDING. */
#include "scan_json.h"
#include "scan_time.h"

enum { WORD, COUNTRYCODE, TIMESTAMP, RECOGNIZED, KEY_ID, DRAWING, UNKNOWN };

typedef struct {
    const uint8_t *word, *word_end;
    uint64_t key_id;
    int64_t timestamp, n_points, n_strokes;
    uint8_t countrycode[2], recognized;
} line_values;

/* Whether `p` begins with a string literal. */
#define IS(p, text) (memcmp(p, text, sizeof text - 1) == 0)

/* Digits and a quote. */
static inline const uint8_t *quoted_id(const uint8_t *p, uint64_t *id) {
#if LITTLE_ENDIAN_WORDS
    if (p[16] == '"' && !(no_digits(load8(p)) | no_digits(load8(p + 8)))) {
        *id = eight_digits(load8(p)) * 100000000 + eight_digits(load8(p + 8));
        return p + 17;
    }
#endif
    p = unsigned_digits(p, 19, id);
    return p && *p == '"' ? p + 1 : NULL;
}

/* ---- a line as Google writes it ---- */

/* Step over a token: `compact`, or `spaced` with a space behind each ',' and ':'. */
#define STEP(p, is_spaced, compact, spaced)                                                                            \
    do {                                                                                                               \
        if (!((is_spaced) ? IS(p, spaced) : IS(p, compact))) return NULL;                                              \
        p += (is_spaced) ? sizeof spaced - 1 : sizeof compact - 1;                                                     \
    } while (0)

/* Returns the byte behind the line's '\n'. NULL: what follows at *rest is different; the keys in *seen were read. Compiled
   twice: with spaced == 1 for the form of Python's json.dumps. */
static inline const uint8_t *usual_line(const uint8_t *p, int spaced, line_values *v, qd_columns *out, const uint8_t **rest,
                                        unsigned *seen) {
    *rest = p, *seen = 0;
    STEP(p, spaced, "{\"word\":\"", "{\"word\": \"");
    v->word = p;
    while (is_plain(*p)) p++;
    if (*p != '"') return NULL;
    v->word_end = p++;

    *rest = p, *seen |= 1u << WORD;
    STEP(p, spaced, ",\"countrycode\":\"", ", \"countrycode\": \"");
    v->countrycode[0] = p[0];
    v->countrycode[1] = p[1];
    if (!is_plain(p[0]) || !is_plain(p[1]) || p[2] != '"') return NULL;
    p += 3;

    *rest = p, *seen |= 1u << COUNTRYCODE;
    STEP(p, spaced, ",\"timestamp\":\"", ", \"timestamp\": \"");
    if (!(p = usual_timestamp(p, &v->timestamp))) return NULL;

    *rest = p, *seen |= 1u << TIMESTAMP;
    STEP(p, spaced, ",\"recognized\":", ", \"recognized\": ");
    v->recognized = *p == 't';
    if (!(v->recognized ? IS(p, "true,") : IS(p, "false"))) return NULL;
    p += 5 - v->recognized;

    *rest = p, *seen |= 1u << RECOGNIZED;
    STEP(p, spaced, ",\"key_id\":\"", ", \"key_id\": \"");
    if (!(p = quoted_id(p, &v->key_id))) return NULL;

    *rest = p, *seen |= 1u << KEY_ID;
    STEP(p, spaced, ",\"drawing\":", ", \"drawing\": ");
    p = spaced ? spaced_drawing(p, out->text, out, &v->n_points, &v->n_strokes) : drawing(p, out, &v->n_points, &v->n_strokes);
    if (!p) return NULL;

    *rest = p, *seen |= 1u << DRAWING;
    if (*p++ != '}') return NULL;
    if (*p == '\r') p++;
    return *p == '\n' ? p + 1 : NULL;
}

/* ---- any JSON object ---- */

/* The key whose first character is at `p`. The text goes on behind its closing quote. */
static inline int which_key(const uint8_t *p) {
    switch (*p) {
    case 'w': return IS(p, "word\"") ? WORD : UNKNOWN;
    case 'c': return IS(p, "countrycode\"") ? COUNTRYCODE : UNKNOWN;
    case 't': return IS(p, "timestamp\"") ? TIMESTAMP : UNKNOWN;
    case 'r': return IS(p, "recognized\"") ? RECOGNIZED : UNKNOWN;
    case 'k': return IS(p, "key_id\"") ? KEY_ID : UNKNOWN;
    case 'd': return IS(p, "drawing\"") ? DRAWING : UNKNOWN;
    default: return UNKNOWN;
    }
}

/* A string; `p` stands on what should be its opening quote. Its characters are [*start, *end): in the line, or from *text
   on, which is moved behind them. */
static inline const uint8_t *any_string(const uint8_t *p, uint8_t **text, const uint8_t **start, const uint8_t **end) {
    if (*p != '"') return NULL;
    *start = p + 1;
    *end = plain_end(p + 1);
    if (**end == '"') return *end + 1;
    *start = *text;
    p = qd_json_string(p + 1, text);
    *end = *text;
    return p;
}

/* A key and its ':'. */
static inline const uint8_t *any_key(const uint8_t *p, uint8_t *text, int *key) {
    static const uint8_t length[] = {4, 11, 9, 10, 6, 7};
    if (*p != '"') return NULL;
    *key = which_key(p + 1);
    if (*key != UNKNOWN)
        p += length[*key] + 2;
    else {
        const uint8_t *end = plain_end(p + 1);
        if (*end == '"')
            p = end + 1;
        else { /* a known key may be written with escapes */
            const uint8_t *const start = text;
            if (!(p = qd_json_string(p + 1, &text))) return NULL;
            *text = '"';
            *key = which_key(start);
            if (*key != UNKNOWN && text - start != length[*key]) *key = UNKNOWN; /* it has a quote in it */
        }
    }
    p = skip_blanks(p);
    return *p == ':' ? p + 1 : NULL;
}

/* One member's value; `p` stands on its first byte. */
static const uint8_t *member(const uint8_t *p, int key, uint8_t **text, line_values *v, qd_columns *out) {
    const uint8_t *start, *end;
    if (*p == 'n' && key != DRAWING) return literal(p, "null"); /* as if it were not given */
    switch (key) {
    case WORD: return any_string(p, text, &v->word, &v->word_end);
    case COUNTRYCODE:
        if (!(p = any_string(p, text, &start, &end)) || end - start > 2) return NULL;
        for (int i = 0; i < end - start; i++) {
            if (start[i] == 0 || start[i] >= 0x80) return NULL;
            v->countrycode[i] = start[i];
        }
        return p;
    case TIMESTAMP:
        if (*p != '"') return numeric_timestamp(p, &v->timestamp);
        start = usual_timestamp(p + 1, &v->timestamp);
        return start ? start : any_timestamp(p + 1, &v->timestamp);
    case RECOGNIZED:
        v->recognized = *p == 't';
        return literal(p, v->recognized ? "true" : "false");
    case KEY_ID:
        if (*p == '"') return quoted_id(p + 1, &v->key_id);
        return *p == '0' ? (v->key_id = 0, p + 1) : unsigned_digits(p, 19, &v->key_id);
    case DRAWING:
        start = drawing(p, out, &v->n_points, &v->n_strokes);
        return start ? start : spaced_drawing(p, *text, out, &v->n_points, &v->n_strokes);
    default: return qd_json_skip(p, *text);
    }
}

/* What a line says that lacks the keys not in `seen`. */
static void clear_unseen(line_values *v, unsigned seen) {
    if (!(seen & 1u << WORD)) v->word = v->word_end = (const uint8_t *)"";
    if (!(seen & 1u << COUNTRYCODE)) v->countrycode[0] = v->countrycode[1] = 0;
    if (!(seen & 1u << TIMESTAMP)) v->timestamp = QD_NO_TIMESTAMP;
    if (!(seen & 1u << RECOGNIZED)) v->recognized = QD_NOT_GIVEN;
    if (!(seen & 1u << KEY_ID)) v->key_id = 0;
    if (!(seen & 1u << DRAWING)) v->n_points = v->n_strokes = 0;
}

/* The rest of a line: all of it from its '{' on, or from behind a value on, after the keys in `seen`. Returns the byte behind
   its '\n'. */
static const uint8_t *any_line(const uint8_t *p, unsigned seen, line_values *v, qd_columns *out) {
    uint8_t *text = out->text;
    clear_unseen(v, seen);
    for (int begin = !seen;; begin = 0) {
        int key;
        if (!begin) {
            p = skip_blanks(p);
            if (*p != ',') break;
        }
        if (!(p = any_key(skip_blanks(p + 1), text, &key)) || (key != UNKNOWN && seen & 1u << key)) return NULL;
        seen |= 1u << key;
        if (!(p = member(skip_blanks(p), key, &text, v, out))) return NULL;
    }
    if (*p != '}' || !(seen & 1u << DRAWING)) return NULL;
    p = skip_blanks(p + 1);
    return *p == '\n' ? p + 1 : NULL;
}

static const uint8_t *line(const uint8_t *p, line_values *v, qd_columns *out) {
    const uint8_t *rest, *next;
    unsigned seen;
#if LITTLE_ENDIAN_WORDS
    if ((next = usual_line(p, 0, v, out, &rest, &seen))) return next;
    if (!seen && (next = usual_line(p, 1, v, out, &rest, &seen))) return next;
    return any_line(rest, seen, v, out);
#else
    return any_line(p, 0, v, out);
#endif
}

/* ---- lines ---- */

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
            p = skip_blanks(p);
            if (*p == '\n') {
                p++;
                continue;
            }
            if (*p != '{') return QD_UNCERTAIN;
        }
        /* Hardware prefetching alone leaves half of the speed to memory. */
        for (int i = 0; i < 512; i += 64) __builtin_prefetch(p + 2048 + i);
        line_values v;
        const uint8_t *next = line(p, &v, out);
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
