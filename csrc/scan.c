/* What the scanners have in common: bounds, words, the choice of a level. See qd.h. */
#include "qd.h"

#include <string.h>

size_t qd_max_points(size_t len) { return len / 2 + 1; }   /* "0," of an x list whose y list is still to come */
size_t qd_max_strokes(size_t len) { return len / 8 + 1; }  /* "[0]," of x and of y: {"x":[[0],...],"y":[[0],...]} */
size_t qd_max_drawings(size_t len) { return len / 27 + 1; } /* {"drawing":[[[0,0],[0,0]]]} and '\n' */

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
    if (w->n_words && is_word(w, w->n_words - 1, word, len)) return w->n_words - 1; /* as in the line before */
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

/* ---- columns behind columns ---- */

int qd_append(const qd_columns *from, const int32_t *codes, qd_columns *to) {
    const int64_t points = to->n_points, strokes = to->n_strokes, drawings = to->n_drawings;
    const size_t n = (size_t)from->n_drawings;
    if (from->n_points > to->cap_points - points || from->n_strokes > to->cap_strokes - strokes ||
        from->n_drawings > to->cap_drawings - drawings)
        return -1;
    if (n == 0) return 0;
    memcpy(to->x + points, from->x, (size_t)from->n_points);
    memcpy(to->y + points, from->y, (size_t)from->n_points);
    for (int64_t s = 1; s <= from->n_strokes; s++) to->stroke_offsets[strokes + s] = from->stroke_offsets[s] + points;
    for (int64_t i = 1; i <= from->n_drawings; i++) to->drawing_offsets[drawings + i] = from->drawing_offsets[i] + strokes;
    memcpy(to->key_id + drawings, from->key_id, n * sizeof *to->key_id);
    memcpy(to->timestamp + drawings, from->timestamp, n * sizeof *to->timestamp);
    for (size_t i = 0; i < n; i++) to->word[drawings + (int64_t)i] = codes[from->word[i]];
    memcpy(to->recognized + drawings, from->recognized, n);
    memcpy(to->countrycode + 2 * drawings, from->countrycode, 2 * n);
    to->n_points += from->n_points;
    to->n_strokes += from->n_strokes;
    to->n_drawings += from->n_drawings;
    return 0;
}

/* ---- levels ---- */

int qd_scan_portable(const uint8_t *, size_t, size_t *, int, qd_columns *, qd_words *, qd_tally *);
int qd_scan_avx2(const uint8_t *, size_t, size_t *, int, qd_columns *, qd_words *, qd_tally *);
int qd_scan_avx512(const uint8_t *, size_t, size_t *, int, qd_columns *, qd_words *, qd_tally *);
int qd_scan_neon(const uint8_t *, size_t, size_t *, int, qd_columns *, qd_words *, qd_tally *);

const char *qd_level_name(int level) {
#if QD_X86
    static const char *const names[] = {"portable", "avx2", "avx512"};
#elif QD_ARM
    static const char *const names[] = {"portable", "neon"};
#else
    static const char *const names[] = {"portable"};
#endif
    return level >= 0 && level < (int)(sizeof names / sizeof *names) ? names[level] : NULL;
}

int qd_level(void) {
#if QD_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("popcnt") || !__builtin_cpu_supports("fma"))
        return QD_PORTABLE;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vbmi2")
               ? QD_AVX512
               : QD_AVX2;
#elif QD_ARM
    return QD_NEON;
#else
    return QD_PORTABLE;
#endif
}

int qd_scan(int level, const uint8_t *data, size_t len, size_t *pos, int keep_any, qd_columns *out, qd_words *words,
            qd_tally *tally) {
    switch (level) {
#if QD_X86
    case QD_AVX512: return qd_scan_avx512(data, len, pos, keep_any, out, words, tally);
    case QD_AVX2: return qd_scan_avx2(data, len, pos, keep_any, out, words, tally);
#elif QD_ARM
    case QD_NEON: return qd_scan_neon(data, len, pos, keep_any, out, words, tally);
#endif
    default: return qd_scan_portable(data, len, pos, keep_any, out, words, tally);
    }
}
