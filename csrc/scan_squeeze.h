/* A drawing with white space, for the SIMD levels: the white space is squeezed out, then it is read as any other. A scan_*.c
   with QD_BLOCK and `drawing` defines

       static inline text_block classify_text(const uint8_t *p);
       static inline uint8_t *pack(uint8_t *to, const uint8_t *p, uint64_t keep);

   pack writes the bytes of p[0..QD_BLOCK) whose bits are set to `to`, and up to QD_BLOCK bytes of anything from there on;
   it returns the byte behind them. */
#include "scan_json.h"

typedef struct {
    uint64_t blanks, digits; /* bit i is for byte p[i] */
    uint64_t stops;          /* one of " } \n, and of no other bytes that stand in an array of numbers */
} text_block;

/* Both tables are indexed by the low four bits of the character. */
static const uint8_t qd_blanks[16] = {' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', 0, 0, 0, '\r', 0, 0};
static const uint8_t qd_stops[16] = {255, 0, '"', 0, 0, 0, 0, 0, 0, 0, '\n', 0, 0, '}', 0, 0};

static inline text_block classify_text(const uint8_t *p);
static inline uint8_t *pack(uint8_t *to, const uint8_t *p, uint64_t keep);

/* Copy what is not white space to *to, which is moved behind it. Returns the first byte that cannot belong to an array of
   numbers, or NULL where white space stands between two digits: squeezed out, it would make them one number. */
static const uint8_t *squeeze(const uint8_t *p, uint8_t **to) {
    uint8_t *out = *to;
    uint64_t digit = 0, gap = 0; /* before this block: a digit; a digit and then white space */
    for (;; p += QD_BLOCK) {
        const text_block b = classify_text(p);
        const uint64_t all = ~(uint64_t)0 >> (64 - QD_BLOCK), text = b.stops ? (b.stops & -b.stops) - 1 : all;
        const uint64_t blanks = b.blanks & text, first = blanks & (b.digits << 1 | digit | gap);
        if (first | gap) {
            const uint64_t sum = first + blanks; /* carries run through white space that follows a digit */
            if (((sum & ~blanks) | (gap & ~blanks)) & b.digits) return NULL;
            gap = QD_BLOCK < 64 ? sum >> (QD_BLOCK & 63) : sum < first;
        }
        digit = b.digits >> (QD_BLOCK - 1) & 1;
        out = pack(out, p, text & ~blanks);
        if (b.stops) {
            *to = out;
            return p + __builtin_ctzll(b.stops);
        }
    }
}

static inline const uint8_t *spaced_drawing(const uint8_t *p, uint8_t *text, qd_columns *out, int64_t *n_points,
                                            int64_t *n_strokes) {
    uint8_t *end = text;
    const uint8_t *next, *stop = squeeze(p, &end);
    if (!stop || stop - p == end - text) return NULL;
    *end = '\n';
    if (!(next = drawing(text, out, n_points, n_strokes))) return NULL;
    if (next == end) return stop;
    if (*next != ',' || next + 1 != end) return NULL;
    while (*--stop != ',') {} /* the one before the next key */
    return stop;
}
