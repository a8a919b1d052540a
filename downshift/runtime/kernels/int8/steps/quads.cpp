#include "quads.hpp"

namespace downshift::int8 {
namespace {

constexpr int channels = 3;
constexpr Window pixel = {1, 1, 1, 0, 0, 0, 0};

int taps(const Window& window) { return window.height * window.width; }

Map quads_map(const Map& output, const Window& window) { return {channels * taps(window), output.height, output.width, 0}; }

}  // namespace

Quads::Quads(const Isa& isa, const Map& map, int zero, const Map& output, const Window& window)
    : isa_(isa),
      window_(window),
      pixels_(isa, map, zero, zero, output, window),
      map_(quads_map(output, window)),
      expansion_(map_, output, pixel) {
    for (int tap = 0; tap < taps(window); ++tap)
        offsets_.push_back(std::uint32_t(pixels_.expansion().offset(0, tap / window.width, tap % window.width)));
}

bool Quads::suit(const Map& map, const Map& output, const Window& window) {
    if (map.channels != channels) return false;
    const Map quads = quads_map(output, window);
    return quads.groups() < taps(window) && Expansion(quads, output, pixel).fits_offsets();
}

Conv Quads::over_quads(const Conv& conv) {
    Conv changed = conv;
    changed.window = pixel;
    const auto count = std::size_t(taps(conv.window));
    for (std::size_t at = 0; at < conv.weight.size(); ++at) {
        const std::size_t output = at / (channels * count), channel = at / count % channels, tap = at % count;
        changed.weight[(output * count + tap) * channels + channel] = conv.weight[at];
    }
    return changed;
}

ScratchNeed Quads::scratch() const {
    ScratchNeed need = pixels_.scratch();
    need.quads = map_.row_bytes();
    return need;
}

const char* Quads::row(char* home, std::uint64_t run, int first, int, Scratch& scratch) const {
    if (scratch.quads_owner == this && scratch.quads_run == run && scratch.quads_row == first) return scratch.quads.data();
    scratch.quads_owner = this;
    scratch.quads_run = run;
    scratch.quads_row = first;
    const int top = first * window_.stride;
    QuadTask task;
    task.from = pixels_.row(home, run, top, top + window_.height - 1, scratch);
    task.to = scratch.quads.data();
    task.offsets = offsets_.data();
    task.taps = int(offsets_.size());
    task.count = map_.groups();
    task.width = map_.block_width();
    task.step = std::ptrdiff_t(window_.stride) * std::ptrdiff_t(vector_bytes);
    task.to_group = std::ptrdiff_t(map_.group_bytes());
    isa_.quads(task);
    return scratch.quads.data();
}

}  // namespace downshift::int8
