#include "program.hpp"

#include <algorithm>
#include <chrono>

#include "planner.hpp"

namespace downshift {

Program::Program(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers,
                 std::vector<Tiling> tilings)
    : workers_(std::move(workers)),
      input_shape_(network.tensor(0).shape),
      classes_(network.tensor(network.output()).shape.width),
      workspaces_(std::size_t(workers_->threads())) {
    Plan plan = make_plan(network, isa, workers_->threads(), std::move(tilings));
    steps_ = std::move(plan.steps);
    buffer_floats_ = std::move(plan.buffer_floats);
    for (const ConvSite& site : plan.convs) tilings_.push_back(site.tiling);
    std::size_t scratch = 0;
    for (const auto& step : steps_) scratch = std::max(scratch, step->scratch());
    for (int thread = 0; thread < workers_->threads(); ++thread) scratch_.emplace_back(scratch);
    workspace(0);
}

Program::~Program() = default;

Workspace& Program::workspace(int number) {
    auto& workspace = workspaces_[std::size_t(number)];
    if (!workspace) {
        workspace = std::make_unique<Workspace>();
        for (std::size_t floats : buffer_floats_) workspace->buffers.emplace_back(floats);
    }
    return *workspace;
}

void Program::run_together(Workspace& workspace) {
    for (const auto& step : steps_)
        workers_->run(step->items(), [&](int item, int thread) {
            step->run(workspace, item, scratch_[std::size_t(thread)].data());
        });
}

void Program::run_alone(Workspace& workspace, int thread) {
    float* scratch = scratch_[std::size_t(thread)].data();
    for (const auto& step : steps_)
        for (int item = 0; item < step->items(); ++item) step->run(workspace, item, scratch);
}

void Program::run(const float* input, float* output, int examples) {
    const std::size_t input_floats =
        std::size_t(input_shape_.channels) * std::size_t(input_shape_.height) * std::size_t(input_shape_.width);
    const auto aim = [&](Workspace& workspace, int example) -> Workspace& {
        workspace.input = input + std::size_t(example) * input_floats;
        workspace.output = output + std::size_t(example) * std::size_t(classes_);
        return workspace;
    };
    const std::lock_guard lock(workers_->exclusive);
    const int used = examples < workers_->threads() ? 1 : workers_->threads();
    for (int thread = 0; thread < used; ++thread) workspace(thread);
    workers_->run_batch(
        examples, [&](int example, int thread) { run_alone(aim(*workspaces_[std::size_t(thread)], example), thread); },
        [&](int example) { run_together(aim(*workspaces_.front(), example)); });
}

std::size_t Program::stream_bytes() const {
    std::size_t bytes = 0;
    for (const auto& step : steps_) bytes += step->bytes();
    return bytes;
}

std::size_t Program::workspace_bytes() const {
    std::size_t floats = 0;
    for (std::size_t buffer : buffer_floats_) floats += buffer;
    return floats * sizeof(float);
}

std::vector<std::pair<std::string, double>> Program::measure(int repeats) {
    using Clock = std::chrono::steady_clock;
    const Shape& shape = input_shape_;
    const std::vector<float> input(std::size_t(shape.channels) * std::size_t(shape.height) * std::size_t(shape.width));
    std::vector<float> output(std::size_t(classes_), 0.0f);
    const std::lock_guard lock(workers_->exclusive);
    Workspace& space = workspace(0);
    space.input = input.data();
    space.output = output.data();
    std::vector<std::pair<std::string, double>> best;
    for (const auto& step : steps_) best.emplace_back(step->describe(), 1e9);
    for (int repeat = 0; repeat < repeats; ++repeat)
        for (std::size_t s = 0; s < steps_.size(); ++s) {
            const Step& step = *steps_[s];
            const auto start = Clock::now();
            workers_->run(step.items(), [&](int item, int thread) {
                step.run(space, item, scratch_[std::size_t(thread)].data());
            });
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            best[s].second = std::min(best[s].second, seconds);
        }
    return best;
}

}  // namespace downshift
