#include "isas.hpp"

namespace downshift {

std::vector<const Isa*> supported_isas() {
    std::vector<const Isa*> isas;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx512 && avx2) isas.push_back(&avx512_isa);
    if (avx2) isas.push_back(&avx2_isa);
#endif
    isas.push_back(&portable_isa);
    return isas;
}

const Isa& chosen_isa() {
    return chosen_among(supported_isas(), [](const std::string& name) -> std::string {
        return name == "avx512vnni" ? "avx512" : name == "avxvnni" ? "avx2" : name;  // of the int8 kernels
    });
}

}  // namespace downshift
