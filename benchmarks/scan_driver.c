/* The scanner without Python, for counting instructions and for profilers.

       cc -O3 -ffp-contract=off -Icsrc benchmarks/scan_driver.c csrc/scan*.c csrc/simplify.c -lm -o scan_driver
       scan_driver LEVEL FILE [ROUNDS]

   LEVEL: 0 portable, 1 AVX2, 2 AVX-512; raw: raw lines to simplified drawings; doubles: the strokes of raw lines, to doubles
   only. Scans the file's bytes ROUNDS times into the same columns. Prints drawings, points, lines left to orjson, a digest of
   the points, and the best round's MB per CPU second. */
#define _GNU_SOURCE /* memmem */
#include "columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *room(size_t bytes) {
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p) exit(3);
    return p;
}

/* The strokes of each line, behind each other; returns the lines that were left to orjson. */
static long read_doubles(const uint8_t *data, size_t len, columns *k, double *xy, int64_t *points) {
    static const char key[] = "\"drawing\":";
    const int64_t room = (int64_t)qd_max_raw_points(len);
    long uncertain = 0;
    *points = 0;
    for (const uint8_t *p = data; p < data + len;) {
        const uint8_t *end = memchr(p, '\n', (size_t)(data + len - p)), *at = memmem(p, (size_t)(end - p), key, sizeof key - 1);
        int64_t n = 0, *offsets = k->c.stroke_offsets;
        const int64_t done = *points;
        if (at && qd_raw_strokes(at + sizeof key - 1, xy + done, xy + room + done, room - done, offsets, k->c.cap_strokes, &n))
            *points += offsets[n];
        else
            uncertain++;
        p = end + 1;
    }
    return uncertain;
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: %s LEVEL FILE [ROUNDS]\n", argv[0]), 2;
    const int raw = !strcmp(argv[1], "raw"), doubles = !strcmp(argv[1], "doubles");
    const int level = atoi(argv[1]), rounds = argc > 3 ? atoi(argv[3]) : 1;
    if (level > qd_level()) return fprintf(stderr, "this CPU's highest level is %d\n", qd_level()), 4;
    FILE *file = fopen(argv[2], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return perror(argv[2]), 1;
    const size_t len = (size_t)ftell(file);
    uint8_t *data = room(len + QD_PADDING);
    rewind(file);
    if (len == 0 || fread(data, 1, len, file) != len || data[len - 1] != '\n') return fprintf(stderr, "no lines\n"), 1;

    columns k = make_columns(len, 1, room);
    qd_columns c = k.c;
    double *xy = room(doubles ? 16 * qd_max_raw_points(len) : 0);
    if (raw) c.raw = room(qd_raw_scratch(len)), c.raw_len = len;
    qd_words w = k.w;
    double best = 1e9;
    long uncertain = 0;
    for (int round = 0; round < rounds; round++) {
        struct timespec a, b;
        qd_tally tally = {0};
        size_t pos = 0;
        c.n_points = c.n_strokes = c.n_drawings = uncertain = 0;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        if (doubles) uncertain = read_doubles(data, len, &k, xy, &c.n_points);
        while (!doubles && (raw ? qd_scan_raw(data, len, &pos, 1, &c, &w, &tally)
                                : qd_scan(level, data, len, &pos, 1, &c, &w, &tally)) == QD_UNCERTAIN) {
            pos = (size_t)((uint8_t *)memchr(data + pos, '\n', len - pos) - data) + 1;
            uncertain++;
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        const double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        if (s < best) best = s;
    }
    uint64_t digest = 0;
    for (int64_t i = 0; i < c.n_points; i++) {
        uint64_t bits = c.x[i] * 256u + c.y[i];
        if (doubles) memcpy(&bits, xy + i, 8);
        digest = digest * 31 + bits;
    }
    for (int64_t i = 0; i < c.n_strokes; i++) digest = digest * 31 + (uint64_t)c.stroke_offsets[i];
    for (int64_t i = 0; i < c.n_drawings; i++) digest = digest * 31 + c.key_id[i] + (uint64_t)c.timestamp[i];
    printf("%lld drawings  %lld points  %ld uncertain  digest %016llx  %.0f MB/s\n", (long long)c.n_drawings,
           (long long)c.n_points, uncertain, (unsigned long long)digest, (double)len / best / 1e6);
    return 0;
}
