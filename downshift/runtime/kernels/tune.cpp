#include <algorithm>
#include <chrono>

#include "planner.hpp"

namespace downshift {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Coordinate search for one convolution's tiling: first the kernel, with columns together or apart, then the block size,
// then the number of parts.
class ConvSearch {
public:
    explicit ConvSearch(const ConvSite& site) : best(site.tiling), site_(site) {}

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

}  // namespace

// Measures whole runs of a plan: a convolution timed alone in a loop would have warm branch predictors and caches. All
// convolutions try a candidate in the same run.
class Tuning::Search {
public:
    Search(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers)
        : workers_(std::move(workers)),
          plan_(make_plan(network, isa, workers_->threads(), {})),
          scratch_(std::size_t(workers_->threads())),
          input_(floats_of(network.tensor(0).shape)),
          output_(floats_of(network.tensor(network.output()).shape)),
          fastest_(plan_.steps.size(), 1e9) {
        for (std::size_t floats : plan_.buffer_floats) workspace_.buffers.emplace_back(floats);
        workspace_.input = input_.data();
        workspace_.output = output_.data();
        for (const auto& step : plan_.steps) provide_scratch(*step);
        for (const ConvSite& site : plan_.convs) {
            searches_.emplace_back(site);
            current_.push_back(site.tiling);
            candidates_.emplace_back();
        }
    }

    // One convolution packed anew or one step of a run; false when there is nothing left to try.
    bool advance() {
        if (conv_ < searches_.size()) {
            if (round_ < candidates_[conv_].size()) use(conv_, candidates_[conv_][round_]);
            ++conv_;
            return true;
        }
        if (run_ < runs) {
            measure(step_);
            if (++step_ == plan_.steps.size()) {
                step_ = 0;
                ++run_;
            }
            return true;
        }
        learn();
        return next_round();
    }

    std::vector<Tiling> best() const {
        std::vector<Tiling> tilings;
        for (const ConvSearch& search : searches_) tilings.push_back(search.best);
        return tilings;
    }

private:
    static std::size_t floats_of(const Shape& shape) {
        return std::size_t(shape.channels) * std::size_t(shape.height) * std::size_t(shape.width);
    }

    void provide_scratch(const Step& step) {
        for (Aligned<float>& scratch : scratch_)
            if (scratch.size() < step.scratch()) scratch = Aligned<float>(step.scratch());
    }

    void use(std::size_t conv, const Tiling& tiling) {
        if (tiling == current_[conv]) return;
        const ConvSite& site = plan_.convs[conv];
        plan_.steps[site.step] = site.make(tiling);
        provide_scratch(*plan_.steps[site.step]);
        current_[conv] = tiling;
    }

    void measure(std::size_t number) {
        const Step& step = *plan_.steps[number];
        const std::lock_guard lock(workers_->exclusive);
        const auto start = Clock::now();
        workers_->run(step.items(), [&](int item, int thread) {
            step.run(workspace_, item, scratch_[std::size_t(thread)].data());
        });
        fastest_[number] = std::min(fastest_[number], seconds_since(start));
    }

    void learn() {
        for (std::size_t c = 0; c < searches_.size(); ++c)
            searches_[c].learn(current_[c], fastest_[plan_.convs[c].step]);
    }

    bool next_round() {
        ++round_;
        while (round_ >= rounds_) {
            if (++phase_ == phases) {
                phase_ = phases - 1;
                return false;
            }
            rounds_ = round_ = 0;
            for (std::size_t c = 0; c < searches_.size(); ++c) {
                candidates_[c] = searches_[c].candidates(phase_, workers_->threads());
                rounds_ = std::max(rounds_, candidates_[c].size());
            }
        }
        conv_ = 0;
        run_ = 0;
        std::fill(fastest_.begin(), fastest_.end(), 1e9);
        return true;
    }

    static constexpr int runs = 9, phases = 3;

    std::shared_ptr<Workers> workers_;
    Plan plan_;
    Workspace workspace_;
    std::vector<Aligned<float>> scratch_;
    std::vector<float> input_, output_;
    std::vector<ConvSearch> searches_;
    std::vector<Tiling> current_;
    std::vector<std::vector<Tiling>> candidates_;  // of this phase, for each convolution
    std::vector<double> fastest_;                  // of each step in this round
    // Before the first phase one round measures the tilings there are.
    int phase_ = -1;
    std::size_t rounds_ = 0, round_ = 0;
    std::size_t conv_ = 0, step_ = 0;
    int run_ = 0;
};

Tuning::Tuning(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers)
    : search_(std::make_unique<Search>(network, isa, std::move(workers))) {}

Tuning::~Tuning() = default;

bool Tuning::advance(double seconds) {
    const auto start = Clock::now();
    do {
        if (!search_->advance()) return false;
    } while (seconds_since(start) < seconds);
    return true;
}

std::vector<Tiling> Tuning::best() const { return search_->best(); }

}  // namespace downshift
