// Decides how a network runs: where tensors lie, how each convolution finds its pixels, and which kernel runs it.
#pragma once
#include "program.hpp"

namespace downshift {

struct Plan {
    std::vector<std::unique_ptr<Step>> steps;
    std::vector<std::size_t> buffer_floats;
    std::vector<Tiling> tilings;  // of every convolution
};

// Throws std::invalid_argument when a tiling does not fit its convolution.
Plan make_plan(const Network& network, const Isa& isa, int threads, std::vector<Tiling> tilings);

// Tilings worth measuring for each convolution of the network; the default comes first.
std::vector<std::vector<Tiling>> tiling_choices(const Network& network, const Isa& isa, int threads);

}  // namespace downshift
