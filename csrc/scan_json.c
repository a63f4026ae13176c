/* JSON beyond Google's form. See scan_json.h. */
#include "scan_json.h"

/* ---- strings ---- */

static inline int in(uint8_t c, uint8_t low, uint8_t high) { return c >= low && c <= high; }

/* One character of two to four bytes, in its only valid form. */
static const uint8_t *utf8(const uint8_t *p) {
    const uint8_t first = p[0];
    if (in(first, 0xc2, 0xdf)) return in(p[1], 0x80, 0xbf) ? p + 2 : NULL;
    if (in(first, 0xe0, 0xef)) {
        const uint8_t low = first == 0xe0 ? 0xa0 : 0x80, high = first == 0xed ? 0x9f : 0xbf; /* no surrogates */
        return in(p[1], low, high) && in(p[2], 0x80, 0xbf) ? p + 3 : NULL;
    }
    if (!in(first, 0xf0, 0xf4)) return NULL;
    const uint8_t low = first == 0xf0 ? 0x90 : 0x80, high = first == 0xf4 ? 0x8f : 0xbf; /* up to U+10FFFF */
    return in(p[1], low, high) && in(p[2], 0x80, 0xbf) && in(p[3], 0x80, 0xbf) ? p + 4 : NULL;
}

/* \uXXXX; `p` stands on the backslash. -1: it is something else. */
static int32_t code_unit(const uint8_t *p) {
    if (p[0] != '\\' || p[1] != 'u') return -1;
    int32_t unit = 0;
    for (int i = 2; i < 6; i++) {
        const uint8_t lower = p[i] | 0x20;
        if (!is_digit(p[i]) && !in(lower, 'a', 'f')) return -1;
        unit = unit << 4 | (is_digit(p[i]) ? p[i] - '0' : lower - 'a' + 10);
    }
    return unit;
}

static const uint8_t *unicode_escape(const uint8_t *p, uint8_t **to) {
    int32_t c = code_unit(p);
    if (c < 0) return NULL;
    p += 6;
    if (c >= 0xd800 && c < 0xe000) {
        if (c >= 0xdc00) return NULL;
        const int32_t low = code_unit(p);
        if (low < 0xdc00 || low >= 0xe000) return NULL;
        c = 0x10000 + (c - 0xd800) * 0x400 + (low - 0xdc00);
        p += 6;
    }
    uint8_t *out = *to;
    if (c < 0x80)
        *out++ = (uint8_t)c;
    else {
        const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        *out++ = (uint8_t)(0x780 >> more | c >> 6 * more);
        for (int i = more - 1; i >= 0; i--) *out++ = (uint8_t)(0x80 | (c >> 6 * i & 0x3f));
    }
    *to = out;
    return p;
}

const uint8_t *qd_json_string(const uint8_t *p, uint8_t **to) {
    for (;;) {
        const uint8_t *end = plain_end(p);
        memcpy(*to, p, (size_t)(end - p));
        *to += end - p;
        p = end;
        if (*p == '"') return p + 1;
        if (*p >= 0x80) {
            if (!(end = utf8(p))) return NULL;
            while (p < end) *(*to)++ = *p++;
        } else if (*p != '\\') {
            return NULL; /* a control character */
        } else if (p[1] == 'u') {
            if (!(p = unicode_escape(p, to))) return NULL;
        } else {
            static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
            const char *e = escapes;
            while (*e && (uint8_t)*e != p[1]) e += 2;
            if (!*e) return NULL;
            *(*to)++ = (uint8_t)e[1];
            p += 2;
        }
    }
}

/* ---- values ---- */

/* Up to `most` digits. */
static const uint8_t *digits(const uint8_t *p, int most) {
    const uint8_t *start = p;
    while (is_digit(*p)) p++;
    return p > start && p - start <= most ? p : NULL;
}

static const uint8_t *number(const uint8_t *p) {
    enum { DIGITS = 200, EXPONENT = 2 }; /* surely no infinity, which orjson rejects */
    p += *p == '-';
    p = *p == '0' ? p + 1 : digits(p, DIGITS);
    if (p && *p == '.') p = digits(p + 1, DIGITS);
    if (p && (*p | 0x20) == 'e') {
        p++;
        p = digits(p + (*p == '+' || *p == '-'), EXPONENT);
    }
    return p;
}

/* "key": with blanks. */
static const uint8_t *key(const uint8_t *p, uint8_t *scratch) {
    if (*p != '"' || !(p = skip_string(p + 1, scratch))) return NULL;
    p = skip_blanks(p);
    return *p == ':' ? skip_blanks(p + 1) : NULL;
}

const uint8_t *qd_json_skip(const uint8_t *p, uint8_t *scratch) {
    enum { DEPTH = 63 };
    uint64_t objects = 0; /* bit 0: the innermost is an object */
    for (int depth = 0;;) {
        const int object = *p == '{';
        if (object || *p == '[') {
            p = skip_blanks(p + 1);
            if (*p == (object ? '}' : ']'))
                p++;
            else {
                if (depth++ == DEPTH) return NULL;
                objects = objects << 1 | (uint64_t)object;
                if (object && !(p = key(p, scratch))) return NULL;
                continue;
            }
        } else {
            switch (*p) {
            case '"': p = skip_string(p + 1, scratch); break;
            case 't': p = literal(p, "true"); break;
            case 'f': p = literal(p, "false"); break;
            case 'n': p = literal(p, "null"); break;
            default: p = number(p);
            }
            if (!p) return NULL;
        }
        for (;; depth--, objects >>= 1) {
            if (!depth) return p;
            p = skip_blanks(p);
            if (*p == ',') break;
            if (*p++ != (objects & 1 ? '}' : ']')) return NULL;
        }
        p = skip_blanks(p + 1);
        if (objects & 1 && !(p = key(p, scratch))) return NULL;
    }
}
