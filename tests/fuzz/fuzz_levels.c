/* libFuzzer target: every SIMD level against portable code, on buffers of exactly the size that qd.h promises.

   Same accepted lines, same columns, same words, same tally; whatever stands in the padding; with all the room there can
   be, and with less. AddressSanitizer sees a byte read or written too far. (Against orjson: fuzz_routes.py.) */
#include "../../benchmarks/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    qd_columns c;
    qd_words w;
    qd_tally tally;
    size_t uncertain, digest_of_positions;
} result;

static void *room(size_t bytes) { /* exact, so that the byte behind it is poisoned; filled with noise */
    void *p = malloc(bytes ? bytes : 1);
    if (!p) abort();
    memset(p, 0xa5, bytes);
    return p;
}

static result scan(int level, const uint8_t *data, size_t len, int keep_any, size_t share) {
    const columns k = make_columns(len, share, room);
    result r = {.c = k.c, .w = k.w};
    size_t pos = 0;
    while (qd_scan(level, data, len, &pos, keep_any, &r.c, &r.w, &r.tally) == QD_UNCERTAIN) {
        pos = (size_t)((const uint8_t *)memchr(data + pos, '\n', len - pos) - data) + 1;
        r.digest_of_positions = r.digest_of_positions * 31 + pos;
        r.uncertain++;
        r.tally.lines++;
    }
    if (pos != len) abort();
    const qd_view v = {r.c.x, r.c.y, r.c.stroke_offsets, r.c.drawing_offsets, r.c.n_points, r.c.n_strokes, r.c.n_drawings};
    if (qd_check(&v)) abort();
    return r;
}

static void release(result *r) {
    free(r->c.x), free(r->c.y), free(r->c.stroke_offsets), free(r->c.drawing_offsets), free(r->c.key_id);
    free(r->c.timestamp), free(r->c.word), free(r->c.recognized), free(r->c.countrycode), free(r->c.text);
    free(r->w.bytes), free(r->w.offsets), free(r->w.slots);
}

static void same(const char *what, const void *a, const void *b, size_t bytes) {
    if (bytes && memcmp(a, b, bytes)) {
        fprintf(stderr, "levels differ in %s\n", what);
        abort();
    }
}

static void compare(const result *a, const result *b) {
    same("counts", &a->c.n_points, &b->c.n_points, 3 * sizeof(int64_t));
    same("uncertain lines", &a->uncertain, &b->uncertain, 2 * sizeof(size_t));
    same("tally", &a->tally, &b->tally, sizeof a->tally);
    const size_t n = (size_t)a->c.n_drawings;
    same("x", a->c.x, b->c.x, (size_t)a->c.n_points);
    same("y", a->c.y, b->c.y, (size_t)a->c.n_points);
    same("strokes", a->c.stroke_offsets, b->c.stroke_offsets, 8 * (size_t)(a->c.n_strokes + 1));
    same("drawings", a->c.drawing_offsets, b->c.drawing_offsets, 8 * (n + 1));
    same("key_id", a->c.key_id, b->c.key_id, 8 * n);
    same("timestamp", a->c.timestamp, b->c.timestamp, 8 * n);
    same("word", a->c.word, b->c.word, 4 * n);
    same("recognized", a->c.recognized, b->c.recognized, n);
    same("countrycode", a->c.countrycode, b->c.countrycode, 2 * n);
    same("number of words", &a->w.n_words, &b->w.n_words, 4);
    same("words", a->w.bytes, b->w.bytes, (size_t)a->w.offsets[a->w.n_words]);
}

/* All drawings copied behind themselves: qd_append keeps what it is given. */
static void check_append(const result *r) {
    const size_t n = (size_t)r->c.n_drawings, points = (size_t)r->c.n_points, strokes = (size_t)r->c.n_strokes;
    if (!n) return;
    qd_columns to = {room(2 * points), room(2 * points), room(8 * (2 * strokes + 1)), room(8 * (2 * n + 1)),
                     room(16 * n), room(16 * n), room(8 * n), room(2 * n), room(4 * n),
                     0, 0, 0, 2 * (int64_t)points, 2 * (int64_t)strokes, 2 * (int64_t)n, NULL};
    int32_t *codes = room(4 * (size_t)r->w.n_words);
    for (int32_t i = 0; i < r->w.n_words; i++) codes[i] = i + 7;
    to.stroke_offsets[0] = to.drawing_offsets[0] = 0;
    if (qd_append(&r->c, codes, &to) || qd_append(&r->c, codes, &to) || !qd_append(&r->c, codes, &to)) abort();
    const qd_view v = {to.x, to.y, to.stroke_offsets, to.drawing_offsets, to.n_points, to.n_strokes, to.n_drawings};
    if (qd_check(&v) || to.n_drawings != 2 * r->c.n_drawings) abort();
    uint64_t *hashes = room(16 * n);
    qd_hash(&v, hashes);
    same("hashes of copies", hashes, hashes + n, 8 * n);
    same("key_id of copies", to.key_id + n, r->c.key_id, 8 * n);
    if (to.word[n] != r->c.word[0] + 7) abort();
    free(hashes), free(codes);
    free(to.x), free(to.y), free(to.stroke_offsets), free(to.drawing_offsets), free(to.key_id);
    free(to.timestamp), free(to.word), free(to.recognized), free(to.countrycode);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size == 0) return 0;
    /* The first byte chooses; the rest is ndjson, with a newline at its end. */
    const int keep_any = input[0] & 1;
    const size_t share = input[0] & 2 ? 1 + (input[0] >> 4) : 1;
    const size_t len = size;
    uint8_t *data = room(len + QD_PADDING);
    memcpy(data, input + 1, size - 1);
    data[len - 1] = '\n';
    memset(data + len, '1', QD_PADDING); /* digits: who reads on finds a number */
    result expected = scan(QD_PORTABLE, data, len, keep_any, share);
    for (int level = QD_PORTABLE; level <= qd_level(); level++)
        for (int padding = 0; padding < 2; padding++) {
            memset(data + len, padding ? ']' : ',', QD_PADDING);
            result r = scan(level, data, len, keep_any, share);
            compare(&expected, &r);
            release(&r);
        }
    check_append(&expected);
    release(&expected);
    free(data);
    return 0;
}
