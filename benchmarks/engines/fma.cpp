// What one core can do at most: multiply-adds of float32 in the widest vectors it has, and nothing else.
// Built by benchmarks/engines/peak.py with -march=native, which also makes a multiply and an addition one instruction.
#include <chrono>

namespace {

#if defined(__AVX512F__)
constexpr int bytes = 64;
#elif defined(__AVX__)
constexpr int bytes = 32;
#else
constexpr int bytes = 16;
#endif

typedef float Vector __attribute__((vector_size(bytes)));

constexpr int chains = 12;  // enough to hide the latency of one, few enough for 16 registers
constexpr int lanes = bytes / int(sizeof(float));

// `factor` keeps every chain near 1; the sum is returned so that nothing is left out.
float run(long rounds, float factor) {
    Vector sums[chains];
    for (int chain = 0; chain < chains; ++chain) sums[chain] = Vector{} + 1.0F;
    const Vector scale = Vector{} + factor, addend = Vector{} + (1.0F - factor);
    for (long round = 0; round < rounds; ++round)
#pragma GCC unroll 12
        for (int chain = 0; chain < chains; ++chain) sums[chain] = sums[chain] * scale + addend;
    float total = 0.0F;
    for (const Vector& sum : sums)
        for (int lane = 0; lane < lanes; ++lane) total += sum[lane];
    return total;
}

}  // namespace

// Multiply-adds a second, the best of `repeats` measurements; 0 where the sum is not what it must be.
extern "C" double multiply_adds_a_second(int repeats, float factor) {
    constexpr long rounds = 2'000'000;
    double best = 0.0;
    for (int repeat = 0; repeat < repeats; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        const float total = run(rounds, factor);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        const double expected = double(chains) * lanes;
        if (total < 0.99 * expected || total > 1.01 * expected) return 0.0;
        const double rate = double(rounds) * chains * lanes / seconds;
        if (rate > best) best = rate;
    }
    return best;
}
