#pragma once
#include <vector>

#include "isa.hpp"

namespace downshift::int8 {

// Instruction sets this machine runs, best first; never empty.
std::vector<const Isa*> supported_isas();

// What DOWNSHIFT_FORCE_ISA names, else the best, also where that is `avx512`, as the float kernels call theirs.
// Throws std::invalid_argument for what this machine does not run.
const Isa& chosen_isa();

}  // namespace downshift::int8
