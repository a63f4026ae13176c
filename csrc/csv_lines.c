/* Tables to JSON lines. */
#include "qd.h"

#include <string.h>

static const char *const KEY[] = {0, "\"drawing\":", "\"word\":", "\"countrycode\":", "\"timestamp\":",
                                  "\"recognized\":", "\"key_id\":"};

/* Bytes of the field at p, from its opening quote on if it has one. NULL: it has no end before `end`; else its end, which
   is a delimiter, a line end, or `end`. */
static const uint8_t *field_end(const uint8_t *p, const uint8_t *end, uint8_t delimiter) {
    if (p < end && *p == '"') {
        for (p++;; p += 2) {
            if (!(p = memchr(p, '"', (size_t)(end - p)))) return NULL;
            if (p + 1 == end || p[1] != '"') break;
        }
        p++;
    }
    while (p < end && *p != delimiter && *p != '\n' && *p != '\r') p++;
    return p;
}

/* The text of a field [p, end) without its quotes; returns its end. */
static uint8_t *unquote(const uint8_t *p, const uint8_t *end, uint8_t *to) {
    if (p == end || *p != '"') {
        memcpy(to, p, (size_t)(end - p));
        return to + (end - p);
    }
    for (p++;;) {
        const uint8_t *quote = memchr(p, '"', (size_t)(end - p));
        const size_t n = (size_t)((quote ? quote : end) - p);
        memcpy(to, p, n);
        to += n;
        if (!quote) return to;
        p = quote + 1;
        if (p == end || *p != '"') { /* what follows the closing quote is kept, as other readers do */
            memcpy(to, p, (size_t)(end - p));
            return to + (end - p);
        }
        *to++ = *p++;
    }
}

static uint8_t *put(uint8_t *to, const char *text) {
    const size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

/* A JSON string without its closing quote. */
static uint8_t *put_string(uint8_t *to, const uint8_t *text, const uint8_t *end) {
    static const char hex[] = "0123456789abcdef";
    *to++ = '"';
    for (; text < end; text++) {
        const uint8_t c = *text;
        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = c;
        } else if (c < ' ') {
            to = put(to, "\\u00");
            *to++ = (uint8_t)hex[c >> 4];
            *to++ = (uint8_t)hex[c & 15];
        } else {
            *to++ = c;
        }
    }
    return to;
}

/* Whether this is a time as Google writes it, without " UTC" (it is read later: here only its shape counts). */
static int is_time(const uint8_t *s, size_t n) {
    return (n == 19 || (n > 20 && n < 27 && s[19] == '.')) && s[4] == '-' && s[10] == ' ' && s[n - 1] <= '9' &&
           s[n - 1] >= '0';
}

static int is_text(const uint8_t *s, size_t n, const char *lower, const char *capital, const char *upper) {
    return strlen(lower) == n && (!memcmp(s, lower, n) || !memcmp(s, capital, n) || !memcmp(s, upper, n));
}

/* A key and a value; nothing for an empty field. `raw` is room for the text of the field, behind what is written. */
static uint8_t *put_field(uint8_t *to, int column, const uint8_t *p, const uint8_t *end) {
    uint8_t *raw = to + 5 * (end - p) + 32;
    const uint8_t *stop = unquote(p, end, raw);
    const size_t n = (size_t)(stop - raw);
    if (!n) return to;
    if (to[-1] != '{') *to++ = ',';
    to = put(to, KEY[column]);
    if (column == QD_CSV_DRAWING) {
        while (raw < stop && *raw <= ' ') raw++;
        if (raw < stop && (*raw == '[' || *raw == '{')) {
            for (; raw < stop; raw++) {
                *to = *raw;
                to += *raw > ' ';
            }
            return to;
        }
    }
    if (column == QD_CSV_RECOGNIZED && is_text(raw, n, "true", "True", "TRUE")) return put(to, "true");
    if (column == QD_CSV_RECOGNIZED && is_text(raw, n, "false", "False", "FALSE")) return put(to, "false");
    const int time = column == QD_CSV_TIMESTAMP && is_time(raw, n);
    to = put_string(to, raw, stop);
    return put(to, time ? " UTC\"" : "\"");
}

size_t qd_csv_lines(const uint8_t *data, size_t len, int final, const qd_csv *table, uint8_t *out, size_t cap,
                    size_t *used) {
    const uint8_t *row = data, *const end = data + len;
    uint8_t *to = out;
    while (row < end) {
        /* Where the row ends, so that it is known to fit. */
        const uint8_t *p = row;
        while ((p = field_end(p, end, table->delimiter)) && p < end && *p == table->delimiter) p++;
        int open = !p;
        if (!p || p == end || (*p == '\r' && p + 1 == end)) {
            if (!final) break;
            if (open) { /* a quote without an end must not cost the rows that follow */
                p = memchr(row, '\n', len - (size_t)(row - data));
                p = p ? p : end;
            }
        }
        if (cap - (size_t)(to - out) < 7 * (size_t)(p - row) + QD_CSV_ROOM) break;
        if (open) {
            to = put(to, "a quote without an end");
        } else if (p > row) {
            *to++ = '{';
            const uint8_t *field = row;
            for (int i = 0;; i++) {
                const uint8_t *stop = field_end(field, p, table->delimiter);
                const int column = i < QD_CSV_COLUMNS ? table->column[i] : QD_CSV_OTHER;
                if (column != QD_CSV_OTHER) to = put_field(to, column, field, stop);
                if (stop == p) break;
                field = stop + 1;
            }
            *to++ = '}';
        }
        *to++ = '\n';
        if (p < end && *p == '\r') p++;
        if (p < end && *p == '\n') p++;
        row = p;
    }
    *used = (size_t)(row - data);
    return (size_t)(to - out);
}
