/* Columns and words for the C programs that call qd_scan: what the driver and the fuzz target allocate. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "qd.h"

#include <stdlib.h>

typedef struct {
    qd_columns c;
    qd_words w;
} columns;

/* With 1 / share of the room that `len` bytes can need; `room` allocates. */
static columns make_columns(size_t len, size_t share, void *(*room)(size_t)) {
    const size_t points = qd_max_points(len) / share, strokes = qd_max_strokes(len) / share;
    const size_t drawings = qd_max_drawings(len) / share;
    size_t slots = 2;
    while (slots < 2 * drawings) slots *= 2;
    columns k = {.c = {.x = room(points + QD_SLACK),
                       .y = room(points + QD_SLACK),
                       .stroke_offsets = room(8 * (strokes + 1)),
                       .drawing_offsets = room(8 * (drawings + 1)),
                       .key_id = room(8 * drawings),
                       .timestamp = room(8 * drawings),
                       .word = room(4 * drawings),
                       .recognized = room(drawings),
                       .countrycode = room(2 * drawings),
                       .text = room(len + QD_SLACK),
                       .cap_points = (int64_t)points,
                       .cap_strokes = (int64_t)strokes,
                       .cap_drawings = (int64_t)drawings},
                 .w = {.bytes = room(len),
                       .offsets = room(8 * (drawings + 1)),
                       .slots = calloc(slots, 4),
                       .cap_bytes = (int64_t)len,
                       .cap_words = (int64_t)drawings,
                       .n_slots = (int64_t)slots}};
    if (!k.w.slots) abort();
    k.c.stroke_offsets[0] = k.c.drawing_offsets[0] = k.w.offsets[0] = 0;
    return k;
}

#endif
