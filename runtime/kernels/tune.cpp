#include "planner.hpp"

namespace downshift {

std::vector<Tiling> tune(const Network& network, const Isa& isa, const std::shared_ptr<Workers>& workers, double) {
    std::vector<Tiling> best;
    for (const auto& choices : tiling_choices(network, isa, workers->threads())) best.push_back(choices.front());
    return best;
}

}  // namespace downshift
