/* JSON beyond Google's form: white space, escapes, UTF-8, values of unknown keys. For the scanners alone.

   As in scan_line.h: a line ends with '\n', which no token contains, so no cursor leaves it. Each function returns the
   byte behind what it read, or NULL if orjson should decide. What is accepted, orjson accepts. */
#ifndef QD_SCAN_JSON_H
#define QD_SCAN_JSON_H

#include "scan_bytes.h"

static inline int is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

static inline const uint8_t *skip_blanks(const uint8_t *p) {
    while (is_blank(*p)) p++;
    return p;
}

static inline const uint8_t *literal(const uint8_t *p, const char *word) {
    for (; *word; word++)
        if (*p++ != (uint8_t)*word) return NULL;
    return p;
}

static inline int is_plain(uint8_t c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

/* The first byte that is not ASCII, or has a meaning in a string. */
static inline const uint8_t *plain_end(const uint8_t *p) {
#if LITTLE_ENDIAN_WORDS
    const uint64_t each = 0x0101010101010101u;
    for (;; p += 8) {
        const uint64_t w = load8(p), quote = w ^ '"' * each, escape = w ^ '\\' * each;
        /* Exact up to the first byte found: what a subtraction borrows only spoils the bytes behind it. */
        const uint64_t found = ((quote - each) & ~quote) | ((escape - each) & ~escape) | ((w - ' ' * each) & ~w) | w;
        if (found & 0x80 * each) return p + (__builtin_ctzll(found & 0x80 * each) >> 3);
    }
#else
    while (is_plain(*p)) p++;
    return p;
#endif
}

/* The rest of a string; `p` stands behind its opening quote. Its characters go to *to, which is moved behind them; they
   need no more bytes than the string has. */
const uint8_t *qd_json_string(const uint8_t *p, uint8_t **to);

/* The same for a string that nobody needs. `scratch` has room for it. */
static inline const uint8_t *skip_string(const uint8_t *p, uint8_t *scratch) {
    const uint8_t *end = plain_end(p);
    return *end == '"' ? end + 1 : qd_json_string(p, &scratch);
}

/* Any value, which is checked and skipped. `scratch` has room for the longest string. */
const uint8_t *qd_json_skip(const uint8_t *p, uint8_t *scratch);

#endif
