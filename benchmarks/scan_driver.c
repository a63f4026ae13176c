/* The scanner without Python, for counting instructions and for profilers.

       cc -O3 -Icsrc benchmarks/scan_driver.c csrc/scan*.c -o scan_driver
       scan_driver LEVEL FILE [ROUNDS]      LEVEL: 0 portable, 1 AVX2, 2 AVX-512

   Scans the file's bytes ROUNDS times into the same columns. Prints drawings, points, lines left to orjson, a digest of
   the points, and the best round's MB/s. */
#define _POSIX_C_SOURCE 200809L
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

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: %s LEVEL FILE [ROUNDS]\n", argv[0]), 2;
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
    qd_words w = k.w;
    double best = 1e9;
    long uncertain = 0;
    for (int round = 0; round < rounds; round++) {
        struct timespec a, b;
        qd_tally tally = {0};
        size_t pos = 0;
        c.n_points = c.n_strokes = c.n_drawings = uncertain = 0;
        clock_gettime(CLOCK_MONOTONIC, &a);
        while (qd_scan(level, data, len, &pos, 1, &c, &w, &tally) == QD_UNCERTAIN) {
            pos = (size_t)((uint8_t *)memchr(data + pos, '\n', len - pos) - data) + 1;
            uncertain++;
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        if (s < best) best = s;
    }
    uint64_t digest = 0;
    for (int64_t i = 0; i < c.n_points; i++) digest = digest * 31 + c.x[i] * 256u + c.y[i];
    for (int64_t i = 0; i < c.n_strokes; i++) digest = digest * 31 + (uint64_t)c.stroke_offsets[i];
    for (int64_t i = 0; i < c.n_drawings; i++) digest = digest * 31 + c.key_id[i] + (uint64_t)c.timestamp[i];
    printf("%lld drawings  %lld points  %ld uncertain  digest %016llx  %.0f MB/s\n", (long long)c.n_drawings,
           (long long)c.n_points, uncertain, (unsigned long long)digest, (double)len / best / 1e6);
    return 0;
}
