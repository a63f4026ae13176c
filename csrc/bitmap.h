/* Inside the rasterizer: 28x28 bitmaps as the image backend of cairo 1.16 draws them (see qd_bitmaps in qd.h).

   bitmap_outline.c turns a stroke into the outline of its line, bitmap_lanes.h turns outlines into pixel rows, all
   samples of a row at once; bitmap_row_areas.c covers rows that no corner of the outline lies in, by areas; bitmap_edge_list.c
   draws the few outlines for which cairo's own order of edges has to be known. Lengths are in fixed point, 1/256
   pixel, as in cairo; rows are sampled 15 times, in "subrows". */
#ifndef QD_BITMAP_H
#define QD_BITMAP_H

#include "qd.h"

#define SIDE QD_SIDE
#define SUBROWS 15 /* samples a pixel row */
#define WIDTH 32   /* of a row in memory; columns beyond SIDE stay 0 */

/* The outline of a stroke: two chains of points. An edge leads from each point of a chain to the next, but for the one
   that ends the first part of the left chain, which holds the contour of the left side and of the last cap; after it
   comes the first cap. In cairo's order the edges of the left chain come first. */
typedef struct {
    int32_t *x, *y;
    int32_t n;
} chain;

typedef struct {
    chain left, right;
    int32_t gap; /* in the left chain, there is no edge from this point to the next */
} outline;

/* Points that a chain of a stroke of n points has, at most: a join adds a fan of up to 8 corners and 2 points, a cap a
   fan and 2 points. There is room for SPARE more, which may be written. */
#define SPARE 8
#define CHAIN_POINTS(n) (12 * (n) + 24 + SPARE)

void qd_outline(const int32_t *x, const int32_t *y, int64_t n, outline *out);

/* Edges are numbered through, left chain first. */
static inline int32_t edges_of(const outline *o) { return o->left.n + o->right.n - 2; }

/* An edge, downwards: from (x, y) to (x + dx, y + dy), dy >= 0, crossing the samples of subrows [top, bottom). */
typedef struct {
    int32_t x, y, dx, dy, top, bottom;
    int32_t dir; /* what crossing it from the left adds to the winding number: 1 or -1 */
} edge;

static inline int32_t subrow_of(int32_t y) { return (SUBROWS * y + 128) >> 8; }

static inline edge edge_of(const outline *o, int32_t number) {
    const int left = number < o->left.n - 1;
    const chain *c = left ? &o->left : &o->right;
    const int32_t i = left ? number : number - (o->left.n - 1);
    const int up = c->y[i + 1] < c->y[i];
    const int32_t x = c->x[i + up], y = c->y[i + up], dx = c->x[i + !up] - x, dy = c->y[i + !up] - y;
    const int none = left && i == o->gap;
    return (edge){x, y, dx, none ? 0 : dy, subrow_of(y), subrow_of(none ? y : y + dy), left == up ? 1 : -1};
}

/* What a row of pixels collects: with every edge, what lies right of it is covered (or no longer). */
typedef struct {
    int32_t height[SIDE + 2]; /* of edges in this column, in subrows; covers all columns to the right too */
    int32_t area[SIDE + 2];   /* between the column's left side and the edge, times 2: not covered */
    int32_t first, last;      /* columns with edges */
} coverage;
#define NO_COVERAGE {{0}, {0}, SIDE, -1}

static inline void qd_cover(coverage *c, int64_t column, int64_t height, int64_t area) {
    const int64_t at = column < 0 ? 0 : column > SIDE + 1 ? SIDE + 1 : column;
    c->height[at] += (int32_t)height;
    c->area[at] += (int32_t)area;
    c->first = at < c->first ? (int32_t)at : c->first;
    c->last = at > c->last ? (int32_t)at : c->last;
}

/* A pair of edges that bound a span over a whole pixel row, by areas of trapezoids. */
void qd_cover_row(coverage *c, const edge *left, const edge *right, int32_t row);

/* A row's coverage in 255ths. */
void qd_alpha(const coverage *c, const int32_t columns[2], uint8_t *alpha);

/* The pixel columns [columns[0], columns[1]) that cairo draws the outline in. */
void qd_columns_of(const outline *o, int32_t columns[2]);

/* The coverage of rows [rows[0], rows[1]) by an outline, by cairo's list. scratch: LIST_SCRATCH(edges_of(o)) int32. */
#define LIST_SCRATCH(n) (4 * (n) + (n) * (sizeof(edge) / sizeof(int32_t)) + SIDE * SUBROWS)
void qd_cover_by_list(const outline *o, int32_t *scratch, uint8_t alpha[SIDE][WIDTH], int32_t rows[2]);

/* Draw an outline over the image; -1, and nothing is drawn, where only the list can tell. */
int qd_draw_portable(const outline *o, void *space, uint8_t image[SIDE][WIDTH]);
int qd_draw_avx2(const outline *o, void *space, uint8_t image[SIDE][WIDTH]);
int qd_draw_neon(const outline *o, void *space, uint8_t image[SIDE][WIDTH]);
#define WORKSPACE (256 << 10) /* bytes of space */

/* White over what is there, rounded as cairo does. */
static inline void blend(uint8_t alpha[SIDE][WIDTH], const int32_t rows[2], uint8_t image[SIDE][WIDTH]) {
    for (int32_t r = rows[0]; r < rows[1]; r++)
        for (int k = 0; k < WIDTH; k++) {
            const uint16_t a = alpha[r][k], t = (uint16_t)(image[r][k] * (255 - a) + 127);
            image[r][k] = (uint8_t)(a + ((uint16_t)(t + (t >> 8)) >> 8));
        }
}

#endif
