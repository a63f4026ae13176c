/* JSON arrays to JSON lines. */
#include "qd.h"

void qd_json_lines(uint8_t *data, size_t len, qd_json_state *s) {
    int64_t separator = -1; /* the last one behind the element before, in these bytes */
    for (size_t i = 0; i < len; i++) {
        const uint8_t c = data[i];
        if (s->in_string) {
            if (s->escaped) s->escaped = 0;
            else if (c == '\\') s->escaped = 1;
            else if (c == '"') s->in_string = 0;
            continue;
        }
        if (s->depth) {
            if (c == '"') s->in_string = 1;
            else if (c == '{' || c == '[') s->depth++;
            else if (c == '}' || c == ']') s->depth--;
            else if (c == '\n' || c == '\r') data[i] = ' ';
            continue;
        }
        const int opens = c == '[' && !s->in_array, closes = c == ']' && s->in_array;
        if (opens || closes || c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            if (opens || closes) s->in_array = (uint8_t)opens;
            data[i] = s->in_element ? '\r' : ' ';
            if (s->in_element) separator = (int64_t)i;
            continue;
        }
        if (separator >= 0) data[separator] = '\n';
        if (separator >= 0 || !s->in_element) s->start = s->read + (int64_t)i;
        separator = -1;
        s->in_element = 1;
        s->in_string = c == '"';
        s->depth = c == '{' || c == '[';
    }
    if (separator >= 0) {
        data[separator] = '\n';
        s->in_element = 0;
    }
    s->read += (int64_t)len;
}
