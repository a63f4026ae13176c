/* An outline to pixels by a sorted list of edges that is kept from row to row, as cairo's scan converter does. Where
   edges meet at the top of a pixel row, their order in this list decides how that row is covered, and depends on all
   rows before. See bitmap.h. */
#include "bitmap.h"

#include <string.h>

/* Where the edge crosses the middle of a subrow, rounded to 1/256 pixel. */
static int32_t edge_x(const edge *e, int32_t subrow) {
    const int64_t d = 30 * (int64_t)e->dy;
    const int64_t n = (int64_t)e->dx * ((2 * subrow + 1) * 256 - 30 * e->y) + d / 2;
    return e->x + (int32_t)((n >= 0 ? n : n - d + 1) / d);
}

typedef struct {
    const edge *edges;
    int32_t *x;      /* of every edge, where it crosses the subrow */
    int32_t *active; /* indices of the edges that do, sorted by x */
    int32_t *spare;
    int64_t n;
} list;

/* Sorted p and q into out. Of equals, those come first that belong to what is being copied. */
static void merge(const int32_t *x, const int32_t *p, int64_t np, const int32_t *q, int64_t nq, int32_t *out) {
    while (np && nq) {
        if (x[*p] > x[*q]) {
            const int32_t *t = p;
            const int64_t n = np;
            p = q, np = nq, q = t, nq = n;
        }
        *out++ = *p++;
        np--;
    }
    memcpy(out, np ? p : q, (size_t)(np + nq) * sizeof(int32_t));
}

/* Sort the first 2^(level + 1) of n by merging blocks of equal size; returns how many. */
static int64_t sort(const int32_t *x, int32_t *p, int64_t n, int level, int32_t *spare) {
    int64_t done = 1;
    for (int i = -1; i < level && done < n; i++) {
        const int64_t block = i < 0 ? 1 : sort(x, p + done, n - done, i, spare);
        merge(x, p, done, p + done, block, spare);
        done += block;
        memcpy(p, spare, (size_t)done * sizeof(int32_t));
    }
    return done;
}

/* Take in the edges that begin at a subrow: a chain of them, ended by -1. */
static void begin(list *l, int32_t first, const int32_t *next, int32_t subrow) {
    int32_t *const new = l->active + l->n;
    int64_t n = 0;
    for (int32_t e = first; e >= 0; e = next[e]) {
        new[n++] = e;
        l->x[e] = edge_x(l->edges + e, subrow);
    }
    if (!n) return;
    sort(l->x, new, n, 62, l->spare);
    merge(l->x, l->active, l->n, new, n, l->spare);
    l->n += n;
    memcpy(l->active, l->spare, (size_t)l->n * sizeof(int32_t));
}

/* On to a later subrow; the edges that end before it are left out. */
static void step(list *l, int32_t subrow) {
    int64_t n = 0;
    for (int64_t k = 0; k < l->n; k++) {
        const int32_t number = l->active[k];
        const edge *e = l->edges + number;
        if (e->bottom <= subrow) continue;
        const int32_t x = l->x[number] = edge_x(e, subrow);
        int64_t at = n++;
        for (; at && l->x[l->active[at - 1]] > x; at--) l->active[at] = l->active[at - 1];
        l->active[at] = number;
    }
    l->n = n;
}

/* Whether no edge ends within the row that begins at this subrow, and none meets another. */
static int is_plain(const list *l, int32_t subrow) {
    int32_t last = INT32_MIN;
    for (int64_t k = 0; k < l->n; k++) {
        const edge *e = l->edges + l->active[k];
        const int32_t x = edge_x(e, subrow + SUBROWS);
        if (e->bottom < subrow + SUBROWS || x < last) return 0;
        last = x;
    }
    return 1;
}

static void cover_plain(const list *l, coverage *c, int32_t row) {
    for (int64_t k = 0; k < l->n; k++) {
        const edge *const left = l->edges + l->active[k];
        for (int winding = left->dir;;) {
            winding += l->edges[l->active[++k]].dir;
            if (!winding && (k + 1 == l->n || l->x[l->active[k + 1]] != l->x[l->active[k]])) break;
        }
        qd_cover_row(c, left, l->edges + l->active[k], row);
    }
}

static void cover_subrow(const list *l, coverage *c) {
    int winding = 0;
    for (int64_t k = 0; k < l->n; k++) {
        const int dir = l->edges[l->active[k]].dir, sign = (winding + dir != 0) - (winding != 0);
        const int32_t x = l->x[l->active[k]];
        winding += dir;
        qd_cover(c, x >> 8, sign, sign * 2 * (x & 255));
    }
}

void qd_columns_of(const outline *o, int32_t columns[2]) {
    int32_t left = INT32_MAX, right = INT32_MIN;
    for (int side = 0; side < 2; side++) {
        const chain *c = side ? &o->right : &o->left;
        const int32_t *restrict const x = c->x, *restrict const y = c->y;
        for (int32_t k = 0; k < c->n - 1; k++) {
            const int32_t flat = y[k] == y[k + 1], a = x[k], b = x[k + 1]; /* which is no edge to cairo */
            const int32_t low = flat ? INT32_MAX : a < b ? a : b, high = flat ? INT32_MIN : a < b ? b : a;
            left = low < left ? low : left;
            right = high > right ? high : right;
        }
    }
    columns[0] = left >> 8, columns[1] = (right + 255) >> 8;
}

void qd_cover_by_list(const outline *o, int32_t *scratch, uint8_t alpha[SIDE][WIDTH], int32_t rows[2]) {
    const int32_t n = edges_of(o);
    int32_t *const next = scratch, *const first = scratch + 4 * n;
    edge *const edges = (edge *)(first + SIDE * SUBROWS);
    list l = {edges, scratch + n, scratch + 2 * n, scratch + 3 * n, 0};
    int32_t top = SIDE * SUBROWS, bottom = 0, columns[2];
    qd_columns_of(o, columns);
    memset(first, -1, SIDE * SUBROWS * sizeof *first);
    for (int32_t k = n; k--;) {
        const edge e = edges[k] = edge_of(o, k);
        if (e.top == e.bottom) continue;
        next[k] = first[e.top], first[e.top] = k;
        top = e.top < top ? e.top : top;
        bottom = e.bottom > bottom ? e.bottom : bottom;
    }
    rows[0] = top / SUBROWS, rows[1] = (bottom + SUBROWS - 1) / SUBROWS;
    for (int32_t row = rows[0]; row < rows[1]; row++) {
        const int32_t begins = row * SUBROWS, ends = begins + SUBROWS;
        coverage c = NO_COVERAGE;
        int32_t later = begins + 1;
        while (later < ends && first[later] < 0) later++;
        begin(&l, first[begins], next, begins);
        if (later == ends && is_plain(&l, begins)) {
            cover_plain(&l, &c, row);
            step(&l, ends);
        } else {
            for (int32_t subrow = begins; subrow < ends; subrow++) {
                if (subrow > begins) begin(&l, first[subrow], next, subrow);
                cover_subrow(&l, &c);
                step(&l, subrow + 1);
            }
        }
        memset(alpha[row], 0, WIDTH);
        qd_alpha(&c, columns, alpha[row]);
    }
}
