#include "source.hpp"

namespace downshift::int8 {
namespace {

class Pooling final : public Step {
public:
    Pooling(const Target& target, const MaxPool& pool)
        : isa_(target.isa),
          output_(target.tensor(pool.output).map),
          window_(pool.window),
          source_(isa_, target.tensor(pool.input).map, target.tensor(pool.input).zero, 0, output_, window_),
          from_(target.buffer(pool.input)),
          to_(target.buffer(pool.output)),
          outside_(four_times(target.tensor(pool.output).zero)) {
        for (int tap = 0; tap < window_.height * window_.width; ++tap)
            taps_.push_back(std::uint32_t(source_.expansion().offset(0, tap / window_.width, tap % window_.width)));
    }

    int items() const override { return output_.block_height(); }

    ScratchNeed scratch() const override { return source_.scratch(); }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        const Expansion& expansion = source_.expansion();
        const int first = y * expansion.stride();
        const char* expanded = source_.rows(space.homes[std::size_t(from_)].data(), space.run, first, first + window_.height - 1, scratch);
        for (int group = 0; group < output_.groups(); ++group)
            for (int x = 0; x < output_.block_width(); ++x)
                isa_.maximum(expanded + std::size_t(first) * expansion.row_bytes() + expansion.offset(group, 0, x * expansion.stride()),
                             taps_.data(), int(taps_.size()), output_.valid(y, x), outside_,
                             space.homes[std::size_t(to_)].data() + std::size_t(y) * output_.row_bytes() +
                                 std::size_t(group) * output_.group_bytes() + std::size_t(x) * vector_bytes);
    }

private:
    const Isa& isa_;
    Map output_;
    Window window_;
    Source source_;
    int from_, to_;
    std::uint32_t outside_;
    std::vector<std::uint32_t> taps_;
};

}  // namespace

std::unique_ptr<Step> make_pooling(const Target& target, const MaxPool& pool) {
    return std::make_unique<Pooling>(target, pool);
}

}  // namespace downshift::int8
