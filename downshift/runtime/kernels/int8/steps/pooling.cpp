#include "window_step.hpp"

namespace downshift::int8 {
namespace {

class Pooling final : public WindowStep {
public:
    Pooling(const Target& target, const MaxPool& pool) : WindowStep(target, pool.input, pool.output, pool.window, 0) {}

    void run(Workspace& space, int y, Scratch& scratch) const override {
        each_vector(space, y, scratch, [&](std::size_t vector, const char* source, char* to) {
            isa_.maximum(source, taps_.data(), int(taps_.size()), valid_[vector], outside_, to);
        });
    }
};

}  // namespace

std::unique_ptr<Step> make_pooling(const Target& target, const MaxPool& pool) {
    return std::make_unique<Pooling>(target, pool);
}

}  // namespace downshift::int8
