// simdjson's On-Demand from bytes of ndjson to flat columns, into vectors that are used again.
//
//     simdjson_ondemand FILE 0 OUT    writes OUT.x, OUT.y, OUT.s, OUT.d
//     simdjson_ondemand FILE N        prints the seconds of the fastest of N rounds, after one that warms up
#include <simdjson.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

struct columns {
    std::vector<uint8_t> x, y;
    std::vector<int64_t> strokes{0}, drawings{0};
};

static void parse(simdjson::ondemand::parser &parser, simdjson::padded_string &data, columns &out) {
    out.x.clear(), out.y.clear(), out.strokes.resize(1), out.drawings.resize(1);
    simdjson::ondemand::document_stream stream;
    if (parser.iterate_many(data, 1 << 20).get(stream)) std::exit(1);
    for (auto document : stream) {
        for (auto stroke : document["drawing"].get_array()) {
            int which = 0;
            for (auto list : stroke.get_array()) {
                auto &to = which++ ? out.y : out.x;
                for (auto value : list.get_array()) to.push_back(uint8_t(uint64_t(value.get_uint64())));
            }
            out.strokes.push_back(int64_t(out.x.size()));
        }
        out.drawings.push_back(int64_t(out.strokes.size()) - 1);
    }
}

template <class T> static void write(const std::string &path, const std::vector<T> &values) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char *>(values.data()), std::streamsize(values.size() * sizeof(T)));
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    simdjson::padded_string data;
    if (simdjson::padded_string::load(argv[1]).get(data)) return 1;
    simdjson::ondemand::parser parser;
    columns out;
    parse(parser, data, out);
    double best = 1e9;
    for (int i = 0; i < std::atoi(argv[2]); i++) {
        const auto begun = std::chrono::steady_clock::now();
        parse(parser, data, out);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
    }
    if (argc > 3) {
        const std::string to = argv[3];
        write(to + ".x", out.x), write(to + ".y", out.y), write(to + ".s", out.strokes), write(to + ".d", out.drawings);
    } else {
        std::printf("%.6f\n", best);
    }
}
