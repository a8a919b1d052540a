// A window that slides over a map: every output vector comes from the vectors of its taps.
#pragma once
#include "source.hpp"

namespace downshift::int8 {

class WindowStep : public Step {
public:
    int items() const override { return output_.block_height(); }

    ScratchNeed scratch() const override { return source_.scratch(); }

protected:
    // `halo`: what pixels outside the map hold.
    WindowStep(const Target& target, int input, int output, const Window& window, int halo)
        : isa_(target.isa),
          output_(target.tensor(output).map),
          outside_(four_times(target.tensor(output).zero)),
          valid_(target.valid(output)),
          window_(window),
          source_(isa_, target.tensor(input).map, target.tensor(input).zero, halo, output_, window_),
          from_(target.buffer(input)),
          to_(target.buffer(output)) {
        for (int tap = 0; tap < window_.height * window_.width; ++tap)
            taps_.push_back(std::uint32_t(source_.expansion().offset(0, tap / window_.width, tap % window_.width)));
    }

    // Calls write(vector, source, to) for every group of every vector of row `y`: its number in the map, where its taps count
    // from, and where it goes.
    template <class Write>
    void each_vector(Workspace& space, int y, Scratch& scratch, const Write& write) const {
        const Expansion& expansion = source_.expansion();
        const int first = y * expansion.stride();
        const char* row = source_.row(space.homes[std::size_t(from_)].data(), space.run, first, first + window_.height - 1, scratch);
        char* to = space.homes[std::size_t(to_)].data() + std::size_t(y) * output_.row_bytes();
        for (int group = 0; group < output_.groups(); ++group)
            for (int x = 0; x < output_.block_width(); ++x)
                write(std::size_t(y * output_.block_width() + x), row + expansion.offset(group, 0, x * expansion.stride()),
                      to + std::size_t(group) * output_.group_bytes() + std::size_t(x) * vector_bytes);
    }

    const Isa& isa_;
    Map output_;
    std::uint32_t outside_;
    std::vector<std::uint16_t> valid_;  // of every vector of the output
    std::vector<std::uint32_t> taps_;   // bytes

private:
    Window window_;
    Source source_;
    int from_, to_;
};

}  // namespace downshift::int8
