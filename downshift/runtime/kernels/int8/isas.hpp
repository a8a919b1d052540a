#pragma once
#include <vector>

#include "isa.hpp"

namespace downshift::int8 {

// Instruction sets this machine runs, best first; never empty.
std::vector<const Isa*> supported_isas();

}  // namespace downshift::int8
