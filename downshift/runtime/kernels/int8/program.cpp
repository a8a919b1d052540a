#include "program.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>

#include "steps/step.hpp"

namespace downshift::int8 {
namespace {

ScratchNeed needed(const std::vector<std::unique_ptr<Step>>& steps) {
    ScratchNeed need;
    for (const auto& step : steps) {
        const ScratchNeed one = step->scratch();
        need = {std::max(need.bytes, one.bytes), std::max(need.rows, one.rows), std::max(need.sums, one.sums),
                std::max(need.quads, one.quads)};
    }
    return need;
}

// The step in the plan of that number, counted round, or else in the plan that is measured as the fastest.
struct Choice {
    std::optional<int> plan;
    Workspace& space;
    Workers& workers;

    std::unique_ptr<Step> among(std::vector<std::unique_ptr<Step>> steps) const {
        return std::move(steps[plan ? std::size_t(*plan) % steps.size() : fastest(steps)]);
    }

private:
    // Rounds of all steps alternate, and a step counts by its fastest run.
    std::size_t fastest(const std::vector<std::unique_ptr<Step>>& steps) const {
        constexpr int rounds = 5, in_a_row = 3;
        constexpr double enough = 0.02;  // seconds
        if (steps.size() == 1) return 0;
        Scratch scratch(needed(steps));
        std::vector<double> least(steps.size(), std::numeric_limits<double>::infinity());
        double spent = 0;
        // One convolution at a time: programs that share the workers neither disturb its times nor wait for all of them.
        const std::lock_guard lock(workers.exclusive);
        for (int round = 0; round < rounds && spent < enough; ++round)
            for (std::size_t s = 0; s < steps.size(); ++s)
                for (int again = 0; again < in_a_row; ++again) {
                    const double seconds = timed(*steps[s], scratch);
                    least[s] = std::min(least[s], seconds);
                    spent += seconds;
                }
        return std::size_t(std::min_element(least.begin(), least.end()) - least.begin());
    }

    double timed(const Step& step, Scratch& scratch) const {
        const auto begin = std::chrono::steady_clock::now();
        scratch.owner = scratch.quads_owner = nullptr;
        for (int item = 0; item < step.items(); ++item) step.run(space, item, scratch);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
};

struct MakeStep {
    const Target& target;
    const Choice& choice;
    bool last;

    std::unique_ptr<Step> operator()(const Conv& conv) const { return choice.among(make_convolutions(target, conv)); }
    std::unique_ptr<Step> operator()(const MaxPool& pool) const { return make_pooling(target, pool); }
    std::unique_ptr<Step> operator()(const AveragePool& pool) const { return make_average(target, pool); }
    std::unique_ptr<Step> operator()(const MeanMap& mean) const { return make_mean_map(target, mean); }
    std::unique_ptr<Step> operator()(const Add& add) const { return make_add(target, add); }
    std::unique_ptr<Step> operator()(const Affine& affine) const { return make_affine(target, affine); }
    std::unique_ptr<Step> operator()(const Scale& scale) const { return make_scale(target, scale); }
    std::unique_ptr<Step> operator()(const Lookup& lookup) const { return make_lookup(target, lookup); }
    std::unique_ptr<Step> operator()(const Take& take) const { return make_take(target, take); }
    std::unique_ptr<Step> operator()(const Concat& concat) const { return make_concat(target, concat); }
    std::unique_ptr<Step> operator()(const Activate& activate) const { return make_activate(activate, last); }
    std::unique_ptr<Step> operator()(const Mean& mean) const { return make_mean(target, mean, last); }
    std::unique_ptr<Step> operator()(const Dequantize& flat) const { return make_dequantize(target, flat, last); }
    std::unique_ptr<Step> operator()(const Linear& linear) const { return make_linear(target, linear, last); }
};

}  // namespace

Program::Program(Network network, const Isa& isa, std::shared_ptr<Workers> workers, std::optional<int> plan)
    : workers_(std::move(workers)) {
    const auto& operations = network.operations();
    if (operations.empty() || !network.tensors().back().floats)
        throw std::invalid_argument("network: its last tensor is no vector of floats");
    const int threads = workers_->threads();
    if (threads == 1) network.make_margins();
    input_shape_ = network.tensors().front().map;
    buffers_ = assign_buffers(network);
    for (const Network::Tensor& tensor : network.tensors()) vectors_.push_back(tensor.floats);
    workspaces_.resize(std::size_t(threads));
    const Target target = {isa, network, buffers_.of, threads};
    const Choice choice = {plan, workspace(0), *workers_};
    steps_.push_back(make_load(target));
    for (const Operation& operation : operations)
        steps_.push_back(std::visit(MakeStep{target, choice, &operation == &operations.back()}, operation));
    for (int thread = 0; thread < threads; ++thread) scratch_.push_back(std::make_unique<Scratch>(needed(steps_)));
    if (threads > 1 && !plan) together_ = faster_together();
}

Program::~Program() = default;

std::size_t Program::stream_bytes() const {
    std::size_t bytes = 0;
    for (const auto& step : steps_) bytes += step->bytes();
    return bytes;
}

Workspace& Program::workspace(int thread) {
    auto& space = workspaces_[std::size_t(thread)];
    if (!space) {
        space = std::make_unique<Workspace>();
        for (const std::size_t bytes : buffers_.bytes) space->homes.emplace_back(buffers_.margin, bytes);
        for (const int floats : vectors_) space->vectors.emplace_back(std::size_t(floats));
    }
    return *space;
}

void Program::run_together(Workspace& space) {
    for (const auto& step : steps_)
        workers_->run(step->items(), [&](int item, int thread) { step->run(space, item, *scratch_[std::size_t(thread)]); });
}

void Program::run_alone(Workspace& space, int thread) {
    for (const auto& step : steps_)
        for (int item = 0; item < step->items(); ++item) step->run(space, item, *scratch_[std::size_t(thread)]);
}

// By the fastest of several rounds each: what disturbs a round only makes it slower. Runs follow each other as under load:
// threads that have parked meanwhile are awake from the second one on.
bool Program::faster_together() {
    constexpr int rounds = 10, in_a_row = 3;
    constexpr double surely_together = 1e-4;  // seconds; a busy machine shall not decide what a quiet one would not
    const std::lock_guard lock(workers_->exclusive);
    const Map& map = input_shape_;
    const std::vector<float> image(std::size_t(map.channels) * std::size_t(map.height) * std::size_t(map.width));
    std::vector<float> logits(static_cast<std::size_t>(classes()));
    Workspace& space = workspace(0);
    space.image = image.data();
    space.logits = logits.data();
    const auto timed = [&](const auto& run) {
        space.run = ++runs_;
        const auto begin = std::chrono::steady_clock::now();
        run();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    const auto fastest = [&](const auto& run) {
        double least = std::numeric_limits<double>::infinity();
        for (int again = 0; again < in_a_row; ++again) least = std::min(least, timed(run));
        return least;
    };
    double together = std::numeric_limits<double>::infinity(), alone = together;
    for (int round = 0; round < rounds; ++round) {
        alone = std::min(alone, fastest([&] { run_alone(space, 0); }));
        if (alone > surely_together) return true;
        together = std::min(together, fastest([&] { run_together(space); }));
    }
    return together < alone;
}

void Program::run(const float* images, float* logits, int examples) {
    const Map& map = input_shape_;
    const std::size_t pixels = std::size_t(map.channels) * std::size_t(map.height) * std::size_t(map.width);
    const std::lock_guard lock(workers_->exclusive);
    const std::uint64_t first_run = runs_ + 1;
    runs_ += std::uint64_t(examples);
    const auto aim = [&](Workspace& space, int example) -> Workspace& {
        space.image = images + std::size_t(example) * pixels;
        space.logits = logits + std::size_t(example) * std::size_t(classes());
        space.run = first_run + std::uint64_t(example);
        return space;
    };
    const int used = examples < workers_->threads() ? 1 : workers_->threads();
    for (int thread = 0; thread < used; ++thread) workspace(thread);
    workers_->run_batch(
        examples, [&](int example, int thread) { run_alone(aim(*workspaces_[std::size_t(thread)], example), thread); },
        [&](int example) {
            Workspace& space = aim(*workspaces_.front(), example);
            if (together_)
                run_together(space);
            else
                run_alone(space, 0);
        });
}

}  // namespace downshift::int8
