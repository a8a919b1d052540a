// The instruction sets of this machine, and the one to use.
#pragma once
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "isa.hpp"

namespace downshift {

// The one that DOWNSHIFT_FORCE_ISA names, else the first. `alias(name)`: what these kernels call the instruction set that
// other kernels call `name`. Throws std::invalid_argument for a name that is not among them.
template <class Isa, class Alias>
const Isa& chosen_among(const std::vector<const Isa*>& isas, const Alias& alias) {
    const char* forced = std::getenv("DOWNSHIFT_FORCE_ISA");
    if (!forced || !*forced) return *isas.front();
    const std::string wanted = alias(std::string(forced));
    std::string names;
    for (const Isa* isa : isas) {
        if (wanted == isa->name) return *isa;
        names += std::string(names.empty() ? "" : ", ") + isa->name;
    }
    throw std::invalid_argument("DOWNSHIFT_FORCE_ISA=" + std::string(forced) + ": this machine runs " + names);
}

// Best first; never empty.
std::vector<const Isa*> supported_isas();

// Throws std::invalid_argument where DOWNSHIFT_FORCE_ISA names one that this machine does not run.
const Isa& chosen_isa();

}  // namespace downshift
