// The planner: buffer allocation, and for each convolution its source layout, its kernel and its tiling.
#pragma once
#include <functional>

#include "program.hpp"

namespace downshift {

// A convolution in a plan, and how else it could run.
struct ConvSite {
    std::size_t step;
    int planes;                            // of its source
    int vectors;                           // of its output map
    bool moves;                            // has kernel columns that could be kept apart
    Tiling tiling;
    std::vector<Tiling> kernels;           // the usual tiling for every kernel that fits
    std::function<std::unique_ptr<Step>(const Tiling&)> make;  // the network must still exist
};

struct Plan {
    std::vector<std::unique_ptr<Step>> steps;
    std::vector<std::size_t> buffer_floats;
    std::vector<ConvSite> convs;
};

// Throws std::invalid_argument when a tiling does not fit its convolution.
Plan make_plan(const Network& network, const Isa& isa, int threads, std::vector<Tiling> tilings);

}  // namespace downshift
