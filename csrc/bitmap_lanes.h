/* Outlines to pixel rows, all subrows of a row at once: a lane each. Included once a level, with QD_DRAW defined as the
   name of the function, and the level's own
     smaller larger      of two lanes
     beyond              a - b, or 0 where b is larger; no lane is negative
     words               lanes of uint16, which may overflow
     chosen any          one or the other, by lanes of 0 and -1; whether one of these is -1
     smallest            of all lanes
     numbers, positions  x + number * step, rounded down, where the numbers are those of the lanes' subrows
     total               the coverage of four columns, in 255ths, from how much of each lane is covered
     crossing            of n edges, those of the first 64 that cross a row: a bit each; may read 64
   See bitmap.h. */
#include <string.h>

/* Lane i is subrow i of a row; the last of the 16 is idle. */
#define SUBROW ((lanes){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, -SUBROWS * SIDE})
#define ALL(v) ((lanes){0} + (int16_t)(v))
#define INLINE static inline __attribute__((always_inline))

/* A key is 2 x, + 1 where the winding number falls; this one is of no edge, and sorts behind all others. */
#define NOWHERE 0x7fff

#define FEW 16

/* Sort n keys by a network: Batcher's for 16, without what a smaller number does not need. */
INLINE void sort_network(lanes *key, const int n) {
#define ORDER(i, j)                                     \
    if (j < n) {                                        \
        const lanes low = smaller(key[i], key[j]);      \
        key[j] = larger(key[i], key[j]), key[i] = low;  \
    }
    ORDER(0, 1) ORDER(2, 3) ORDER(4, 5) ORDER(6, 7) ORDER(8, 9) ORDER(10, 11) ORDER(12, 13) ORDER(14, 15)
    ORDER(0, 2) ORDER(1, 3) ORDER(4, 6) ORDER(5, 7) ORDER(8, 10) ORDER(9, 11) ORDER(12, 14) ORDER(13, 15)
    ORDER(1, 2) ORDER(5, 6) ORDER(9, 10) ORDER(13, 14)
    if (n <= 4) return;
    ORDER(0, 4) ORDER(1, 5) ORDER(2, 6) ORDER(3, 7) ORDER(8, 12) ORDER(9, 13) ORDER(10, 14) ORDER(11, 15)
    ORDER(2, 4) ORDER(3, 5) ORDER(10, 12) ORDER(11, 13)
    ORDER(1, 2) ORDER(3, 4) ORDER(5, 6) ORDER(9, 10) ORDER(11, 12) ORDER(13, 14)
    if (n <= 8) return;
    ORDER(0, 8) ORDER(1, 9) ORDER(2, 10) ORDER(3, 11) ORDER(4, 12) ORDER(5, 13) ORDER(6, 14) ORDER(7, 15)
    ORDER(4, 8) ORDER(5, 9) ORDER(6, 10) ORDER(7, 11)
    ORDER(2, 4) ORDER(3, 5) ORDER(6, 8) ORDER(7, 9) ORDER(10, 12) ORDER(11, 13)
    ORDER(1, 2) ORDER(3, 4) ORDER(5, 6) ORDER(7, 8) ORDER(9, 10) ORDER(11, 12) ORDER(13, 14)
#undef ORDER
}

static void sort_few(lanes *key, int n) {
    if (n & 1) key[n] = ALL(NOWHERE);
    switch ((n + 1) / 2) {
    case 0: break;
    case 1: sort_network(key, 2); break;
    case 2: sort_network(key, 4); break;
    case 3: sort_network(key, 6); break;
    case 4: sort_network(key, 8); break;
    case 5: sort_network(key, 10); break;
    case 6: sort_network(key, 12); break;
    case 7: sort_network(key, 14); break;
    default: sort_network(key, FEW);
    }
}

/* Sort a few at a time, then merge what is sorted, as Batcher's network does for any number. There is room for one
   more. */
static void sort_keys(lanes *key, int n) {
    int done = 0;
    for (; n - done > FEW; done += FEW) sort_network(key + done, FEW);
    sort_few(key + done, n - done);
    for (int p = FEW; p < n; p *= 2)
        for (int k = p; k; k /= 2)
            for (int j = k % p; j + k < n; j += 2 * k) {
                if (k < p && (j + k) % (2 * p) == 0) continue; /* from one pair of blocks into the next */
                const int end = j + 2 * k < n ? j + k : n - k;
                for (int i = j; i < end; i++) {
                    const lanes low = smaller(key[i], key[i + k]);
                    key[i + k] = larger(key[i], key[i + k]), key[i] = low;
                }
            }
}

/* Edges of an outline that are followed at once; of more, the list takes care. */
#define MAX_LINES 2048

typedef struct {
    lanes first, last;                            /* of a row: in each lane, what lies between is covered, */
    lanes from[MAX_LINES / 2], to[MAX_LINES / 2]; /* but for the gaps */
    int gaps;
} spans;

typedef struct {
    lanes key[MAX_LINES + 1];
    spans spans;
    /* The edges as lines: x at subrow 0, and from one subrow to the next. Rounded down, x is where the edge crosses the
       middle of a subrow, rounded to 1/256 pixel (see edge_x): what is to be rounded are multiples of 1 / (30 dy),
       where 30 dy < 2^18; 2^-19 is added, and what the doubles lack is far less. */
    double x[MAX_LINES], step[MAX_LINES];
    int16_t top[MAX_LINES], bottom[MAX_LINES];
    int16_t down[MAX_LINES];                             /* 1 where the winding number falls */
    int16_t first[MAX_LINES + 64], last[MAX_LINES + 64]; /* the rows it crosses; none where last < first */
    uint16_t edges[MAX_LINES];                           /* of the row in question */
    int32_t low, high;                                   /* the outline's least and greatest y */
    uint32_t corners;                                    /* bit by row: an edge begins or ends inside of it */
} workspace;
_Static_assert(sizeof(workspace) + sizeof(lanes) <= WORKSPACE, "WORKSPACE is too small");

/* The edges of a chain, numbered from `at`; gap is as in an outline. */
static void add_lines(workspace *w, int32_t at, const chain *c, int left, int32_t gap) {
    const int32_t *restrict const px = c->x, *restrict const py = c->y;
    uint32_t corners = 0;
    int32_t low = w->low, high = w->high;
    for (int32_t i = 0; i < c->n - 1; i++) { /* vectorized by compilers, hence without branches */
        const int up = py[i + 1] < py[i];
        const int32_t x = up ? px[i + 1] : px[i], y = up ? py[i + 1] : py[i];
        const int32_t dx = up ? px[i] - px[i + 1] : px[i + 1] - px[i], dy = up ? py[i] - y : py[i + 1] - y;
        const int32_t top = subrow_of(y), bottom = subrow_of(y + dy);
        const int32_t first = top * 4370 >> 16, last = (bottom - 1) * 4370 >> 16; /* by SUBROWS */
        const double scale = 1.0 / (30 * dy + (dy == 0));
        w->x[at + i] = x + (dx * (256 - 30 * y) + 15 * dy) * scale + 1.0 / (1 << 19);
        w->step[at + i] = 512 * dx * scale;
        w->top[at + i] = (int16_t)top, w->bottom[at + i] = (int16_t)bottom;
        w->down[at + i] = (int16_t)(left ^ up);
        const int some = (top != bottom) & (i != gap);
        w->first[at + i] = (int16_t)first, w->last[at + i] = (int16_t)(some ? last : -1);
        corners |= (uint32_t)(some & (top != first * SUBROWS)) << first;
        corners |= (uint32_t)(some & (bottom != (last + 1) * SUBROWS)) << last;
        low = y < low ? y : low;
        high = y + dy > high ? y + dy : high;
    }
    w->corners |= corners, w->low = low, w->high = high;
}

/* The edges that cross a row, to w->edges; returns how many. */
static int find_edges(workspace *w, int32_t n, int32_t row) {
    int count = 0;
    for (int32_t block = 0; block < n; block += 64)
        for (uint64_t here = crossing(w->first + block, w->last + block, n - block, row); here; here &= here - 1)
            w->edges[count++] = (uint16_t)(block + __builtin_ctzll(here));
    return count;
}

/* Their keys, and one of no edge. */
static int find_keys(workspace *w, int32_t n, int32_t row) {
    const lanes subrow = SUBROW + (int16_t)(row * SUBROWS);
    const numbers number = numbers_of(row * SUBROWS);
    int count = 0;
    for (int32_t block = 0; block < n; block += 64)
        for (uint64_t here = crossing(w->first + block, w->last + block, n - block, row); here; here &= here - 1) {
            const int32_t k = block + __builtin_ctzll(here);
            const words x = (words)positions(w->x[k], w->step[k], &number); /* where the edge is absent, anything */
            const lanes absent = (ALL(w->top[k]) > subrow) | (subrow >= ALL(w->bottom[k]));
            w->key[count++] = chosen(ALL(NOWHERE), (lanes)((x + x) | (words)ALL(w->down[k])), absent);
        }
    w->key[count] = ALL(NOWHERE);
    return count;
}

/* In every lane, the winding number can be zero only behind an even number of edges: where half of them fall. */
static void find_spans(spans *s, const lanes *key, int n) {
    lanes falls = ALL(0), half = ALL(0), outside = ALL(0), last = ALL(0);
    s->gaps = 0;
    s->first = (key[0] >> 1) & (key[0] != NOWHERE);
    for (int k = 0; k < n; k += 2) {
        const lanes begin = key[k] >> 1, begins = outside & (begin > last) & (key[k] != NOWHERE);
        if (any(begins)) { /* into the gaps of other lanes, where there is room */
            if (!s->gaps || any((s->to[s->gaps - 1] & begins) > 0))
                s->from[s->gaps] = s->to[s->gaps] = ALL(0), s->gaps++;
            s->from[s->gaps - 1] |= last & begins;
            s->to[s->gaps - 1] |= begin & begins;
        }
        falls += (key[k] & 1) + (key[k + 1] & 1);
        half += 1;
        outside = falls == half;
        last = chosen(key[k + 1] >> 1, last, outside);
    }
    s->last = last;
}

INLINE lanes within(lanes x, lanes side) { return smaller(beyond(x, side), ALL(256)); }

/* A row by samples. */
static void cover_sampled(workspace *w, int32_t edges, int32_t row, uint8_t *alpha) {
    spans *const s = &w->spans;
    const int n = find_keys(w, edges, row);
    sort_keys(w->key, n);
    find_spans(s, w->key, n);
    const int32_t left = smallest(w->key[0]) >> 9, right = (NOWHERE - smallest(NOWHERE - s->last)) >> 8;
    lanes side = ALL(left << 8);
    for (int32_t column = left; column <= right; column += 4) {
        lanes covered[4];
        for (int c = 0; c < 4; c++, side += 256) {
            covered[c] = within(s->last, side) - within(s->first, side);
            for (int k = 0; k < s->gaps; k++) covered[c] += within(s->from[k], side) - within(s->to[k], side);
        }
        total(covered, alpha + column);
    }
}

INLINE int32_t x_of(const workspace *w, int32_t k, int32_t subrow) { return (int32_t)(w->x[k] + subrow * w->step[k]); }

/* Sort the edges of a row that all cross from top to bottom. Returns whether none meets another; -1: they meet at its
   top, where only the list knows their order. */
static int is_plain(workspace *w, int n, int32_t begins) {
    uint16_t *const edges = w->edges;
    for (int k = 1; k < n; k++) {
        const uint16_t e = edges[k];
        const int32_t x = x_of(w, e, begins);
        int i = k;
        for (; i && x_of(w, edges[i - 1], begins) > x; i--) edges[i] = edges[i - 1];
        edges[i] = e;
    }
    int plain = 1;
    for (int k = 1; k < n; k++) {
        if (x_of(w, edges[k - 1], begins) == x_of(w, edges[k], begins)) return -1;
        plain &= x_of(w, edges[k - 1], begins + SUBROWS) <= x_of(w, edges[k], begins + SUBROWS);
    }
    return plain;
}

/* A row that all its edges cross from top to bottom, by areas. */
static void cover_plain(const outline *o, const uint16_t *edges, int n, int32_t row, uint8_t *alpha) {
    coverage c = NO_COVERAGE;
    int32_t columns[2] = {SIDE << 8, 0};
    for (int k = 0; k < n; k++) {
        const edge left = edge_of(o, edges[k]);
        edge right = left;
        for (int winding = left.dir; winding; winding += right.dir) right = edge_of(o, edges[++k]);
        qd_cover_row(&c, &left, &right, row);
        const int32_t low = left.x + (left.dx < 0 ? left.dx : 0), high = right.x + (right.dx > 0 ? right.dx : 0);
        columns[0] = low < columns[0] ? low : columns[0];
        columns[1] = high > columns[1] ? high : columns[1];
    }
    columns[0] >>= 8, columns[1] = (columns[1] + 255) >> 8;
    /* by its steps, an edge may seem to begin a little outside of itself, and even of the outline */
    if (c.first < columns[0] || c.last >= columns[1]) qd_columns_of(o, columns);
    qd_alpha(&c, columns, alpha);
}

int QD_DRAW(const outline *o, void *space, uint8_t image[SIDE][WIDTH]) {
    workspace *const w = (workspace *)(((uintptr_t)space + sizeof(lanes) - 1) / sizeof(lanes) * sizeof(lanes));
    const int32_t edges = edges_of(o);
    uint8_t alpha[SIDE][WIDTH];
    if (edges > MAX_LINES) return -1;
    w->corners = 0, w->low = INT32_MAX, w->high = 0;
    add_lines(w, 0, &o->left, 1, o->gap);
    add_lines(w, o->left.n - 1, &o->right, 0, -1);
    memset(w->last + edges, -1, 64 * sizeof *w->last);
    const int32_t rows[2] = {subrow_of(w->low) / SUBROWS, (subrow_of(w->high) + SUBROWS - 1) / SUBROWS};
    for (int32_t row = rows[0]; row < rows[1]; row++) {
        int n = 0, plain = 0;
        memset(alpha[row], 0, WIDTH);
        if (!(w->corners >> row & 1)) {
            n = find_edges(w, edges, row);
            plain = is_plain(w, n, row * SUBROWS);
        }
        if (plain < 0) return -1;
        if (plain)
            cover_plain(o, w->edges, n, row, alpha[row]);
        else
            cover_sampled(w, edges, row, alpha[row]);
    }
    blend(alpha, rows, image);
    return 0;
}
