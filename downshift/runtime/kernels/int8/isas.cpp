#include "isas.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace downshift::int8 {

#if defined(DOWNSHIFT_EVEX)
#define DOWNSHIFT_YMM_VNNI "avx512vnni"
#else
#define DOWNSHIFT_YMM_VNNI "avxvnni"
#endif

std::vector<const Isa*> supported_isas() {
    std::vector<const Isa*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        found.push_back(&avx512vnni_isa);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
#if defined(DOWNSHIFT_AVXVNNI)
        if (__builtin_cpu_supports(DOWNSHIFT_YMM_VNNI)) found.push_back(&avxvnni_isa);
#endif
        found.push_back(&avx2_isa);
    }
#endif
    found.push_back(&portable_isa);
    return found;
}

const Isa& chosen_isa() {
    const auto isas = supported_isas();
    const char* forced = std::getenv("DOWNSHIFT_FORCE_ISA");
    if (!forced || !*forced || std::string(forced) == "avx512") return *isas.front();
    std::string names;
    for (const Isa* isa : isas) {
        if (std::string(forced) == isa->name) return *isa;
        names += std::string(names.empty() ? "" : ", ") + isa->name;
    }
    throw std::invalid_argument("DOWNSHIFT_FORCE_ISA=" + std::string(forced) + ": this machine runs " + names);
}

}  // namespace downshift::int8
