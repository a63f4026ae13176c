/* Inside the rasterizer: 28x28 bitmaps as cairo 1.16's image backend draws them (see qd_bitmaps in qd.h).

   bitmap_outline.c turns a stroke into the edges of its outline, bitmap_rows.c turns edges into pixel rows, and
   bitmap_list.c does so for the few strokes that need cairo's own order of edges. Lengths are in fixed point, 1/256
   pixel, as in cairo; rows are sampled 15 times, in "subrows". */
#ifndef QD_BITMAP_H
#define QD_BITMAP_H

#include "qd.h"

#define SIDE QD_SIDE
#define SUBROWS 15 /* samples a pixel row */
#define FULL (2 * 256 * SUBROWS) /* the area of a pixel, as coverage is counted */

/* A line that goes down from (x, y) to (x + dx, y + dy), dy > 0, crossing the samples of subrows [top, bottom). */
typedef struct {
    int32_t x, y, dx, dy;
    int16_t top, bottom;
    int16_t dir; /* 1 or -1: what crossing it from the left adds to the winding number */
} edge;

/* The edges of one stroke in the order cairo makes them, and the pixel columns [left, right) they lie in. */
typedef struct {
    edge *edges;
    int64_t n;
    int32_t left, right;
} outline;

/* Edges of a stroke of n points, at most: two sides a segment, a join and a cap of up to PEN + 2 edges each. */
#define PEN 12
#define MAX_EDGES(n) ((2 + PEN + 4) * (n) + 2 * (PEN + 2))

/* The outline of a stroke of n points; v is 2 x + 256 - (the drawing's largest x), likewise w of y. Room for
   2 * MAX_EDGES(n) edges is needed, where the outline takes the first half. */
void qd_outline(const int32_t *v, const int32_t *w, int64_t n, outline *out);

/* Where the edge crosses the middle of a subrow, rounded to 1/256 pixel. */
static inline int32_t edge_x(const edge *e, int32_t subrow) {
    const int64_t d = 30 * (int64_t)e->dy;
    const int64_t n = (int64_t)e->dx * ((2 * subrow + 1) * 256 - 30 * e->y) + d / 2;
    return e->x + (int32_t)((n >= 0 ? n : n - d + 1) / d);
}

/* What a row of pixels collects: with every edge, what lies right of it is covered (or no longer). */
typedef struct {
    int32_t height[SIDE + 2]; /* of edges in this column, in subrows; covers all columns to the right too */
    int32_t area[SIDE + 2];   /* between the column's left side and the edge: not covered */
} coverage;

/* A pair of edges that bound a span over a whole pixel row, by areas of trapezoids. */
void qd_cover_row(coverage *c, const edge *left, const edge *right, int32_t row);

/* Blend a row's coverage of columns [left, right) with white into 28 pixels, and clear it. */
void qd_blend(coverage *c, int32_t left, int32_t right, uint8_t *pixels);

/* Draw an outline onto 28x28 pixels by cairo's list of active edges. scratch: 4 n + 420 int32. */
void qd_draw_list(const outline *o, int32_t *scratch, uint8_t *pixels);

#endif
