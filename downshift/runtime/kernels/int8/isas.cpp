#include "isas.hpp"

namespace downshift::int8 {

std::vector<const Isa*> supported_isas() {
    std::vector<const Isa*> found;
#if defined(DOWNSHIFT_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        found.push_back(&avx512vnni_isa);
#endif
    found.push_back(&portable_isa);
    return found;
}

}  // namespace downshift::int8
