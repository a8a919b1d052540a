#include <algorithm>
#include <chrono>

#include "planner.hpp"

namespace downshift {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The search for one convolution's tiling: first the kernel, with columns together or apart, then the size of blocks,
// then the number of parts.
class Search {
public:
    explicit Search(const ConvSite& site) : best(site.tiling), site_(site) {}

    // What to measure in one of the three phases.
    std::vector<Tiling> candidates(int phase, int threads) const {
        constexpr std::size_t most_kernels = 5;
        std::vector<Tiling> tilings;
        const auto offer = [&](Tiling tiling) {
            const int tiles = (site_.vectors + tiling.vectors - 1) / tiling.vectors;
            const bool known = tiling == best || std::find(tilings.begin(), tilings.end(), tiling) != tilings.end();
            if (!known && tiles * tiling.parts >= threads) tilings.push_back(tiling);
        };
        if (phase == 0)
            for (std::size_t k = 0; k < std::min(most_kernels, site_.kernels.size()); ++k)
                for (const bool split : {false, true}) {
                    Tiling tiling = site_.kernels[k];
                    tiling.split = split && site_.moves;
                    offer(tiling);
                }
        if (phase == 1)
            for (const int block : {best.block / 2, best.block * 2, best.block * 4, site_.planes}) {
                Tiling tiling = best;
                tiling.block = std::clamp(block, 1, site_.planes);
                offer(tiling);
            }
        if (phase == 2)
            for (const int parts : {1, threads, 2 * threads, 4 * threads}) {
                Tiling tiling = best;
                tiling.parts = std::min(parts, 64);
                offer(tiling);
            }
        return tilings;
    }

    void learn(const Tiling& tiling, double seconds) {
        if (tiling == best) {
            seconds_ = std::min(seconds_, seconds);
        } else if (seconds < 0.98 * seconds_) {
            best = tiling;
            seconds_ = seconds;
        }
    }

    Tiling best;

private:
    const ConvSite& site_;
    double seconds_ = 1e9;
};

// Whole runs of a plan, because a convolution that only ever follows itself finds its branches predicted and its
// stream in cache. Every convolution tries something else in the same run.
class Tuner {
public:
    Tuner(const Network& network, const Isa& isa, Workers& workers)
        : workers_(workers),
          plan_(make_plan(network, isa, workers.threads(), {})),
          scratch_(std::size_t(workers.threads())),
          input_(floats_of(network.tensor(0).shape)),
          output_(floats_of(network.tensor(network.output()).shape)) {
        for (std::size_t floats : plan_.buffer_floats) workspace_.buffers.emplace_back(floats);
        workspace_.input = input_.data();
        workspace_.output = output_.data();
        for (const auto& step : plan_.steps) provide_scratch(*step);
        for (const ConvSite& site : plan_.convs) searches_.emplace_back(site);
    }

    std::vector<Tiling> tune(double seconds) {
        const auto start = Clock::now();
        std::vector<Tiling> current;
        for (const Search& search : searches_) current.push_back(search.best);
        measure(current);
        for (int phase = 0; phase < 3; ++phase) {
            std::vector<std::vector<Tiling>> candidates;
            std::size_t rounds = 0;
            for (const Search& search : searches_) {
                candidates.push_back(search.candidates(phase, workers_.threads()));
                rounds = std::max(rounds, candidates.back().size());
            }
            for (std::size_t round = 0; round < rounds && seconds_since(start) < seconds; ++round) {
                for (std::size_t c = 0; c < searches_.size(); ++c)
                    if (round < candidates[c].size()) use(c, candidates[c][round], current[c]);
                measure(current);
            }
        }
        std::vector<Tiling> best;
        for (const Search& search : searches_) best.push_back(search.best);
        return best;
    }

private:
    static std::size_t floats_of(const Shape& shape) {
        return std::size_t(shape.channels) * std::size_t(shape.height) * std::size_t(shape.width);
    }

    void provide_scratch(const Step& step) {
        for (Aligned<float>& scratch : scratch_)
            if (scratch.size() < step.scratch()) scratch = Aligned<float>(step.scratch());
    }

    void use(std::size_t conv, const Tiling& tiling, Tiling& current) {
        if (tiling == current) return;
        const ConvSite& site = plan_.convs[conv];
        plan_.steps[site.step] = site.make(tiling);
        provide_scratch(*plan_.steps[site.step]);
        current = tiling;
    }

    void measure(const std::vector<Tiling>& current) {
        constexpr int runs = 9;
        std::vector<double> fastest(plan_.steps.size(), 1e9);
        for (int run = 0; run < runs; ++run) {
            const std::lock_guard lock(workers_.exclusive);
            for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
                const Step& step = *plan_.steps[s];
                const auto start = Clock::now();
                workers_.run(step.items(), [&](int item, int thread) {
                    step.run(workspace_, item, scratch_[std::size_t(thread)].data());
                });
                fastest[s] = std::min(fastest[s], seconds_since(start));
            }
        }
        for (std::size_t c = 0; c < searches_.size(); ++c)
            searches_[c].learn(current[c], fastest[plan_.convs[c].step]);
    }

    Workers& workers_;
    Plan plan_;
    Workspace workspace_;
    std::vector<Aligned<float>> scratch_;
    std::vector<float> input_, output_;
    std::vector<Search> searches_;
};

}  // namespace

std::vector<Tiling> tune(const Network& network, const Isa& isa, const std::shared_ptr<Workers>& workers,
                         double seconds) {
    return Tuner(network, isa, *workers).tune(seconds);
}

}  // namespace downshift
