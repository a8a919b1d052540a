#include "isas.hpp"

#include "../isas.hpp"

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
    return chosen_among(isas, [&](const std::string& name) -> std::string {
        // Of the float kernels: a machine that runs it has AVX-512 VNNI as well, or does without here.
        const bool avx512 = name == "avx512" && ::downshift::supported_isas().front()->name == name;
        return avx512 ? isas.front()->name : name;
    });
}

}  // namespace downshift::int8
