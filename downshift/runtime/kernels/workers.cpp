#include "workers.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace downshift {

namespace {

constexpr int spins_before_parking = 20000;  // some tens of microseconds to half a millisecond

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

std::uint64_t pack(std::uint32_t step, std::uint32_t begin, std::uint32_t end) {
    return std::uint64_t(step) << 32 | begin << 16 | end;
}

}  // namespace

Workers::Workers(int threads) : threads_(threads), shares_(new Share[std::size_t(threads)]) {
    for (int thread = 1; thread < threads; ++thread) others_.emplace_back([this, thread] { serve(thread); });
}

Workers::~Workers() {
    stopping_ = true;
    publish(0);
    for (std::thread& other : others_) other.join();
}

// Publishes the shares of a new step. No item of the previous step is outstanding; a thread that still holds one of its
// words fails the compare-and-swap, as the step number differs.
std::uint32_t Workers::publish(int items) {
    const std::uint32_t step = step_.load(std::memory_order_relaxed) + 1;
    for (int thread = 0; thread < threads_; ++thread) {
        const auto begin = std::uint32_t(std::int64_t(items) * thread / threads_);
        const auto end = std::uint32_t(std::int64_t(items) * (thread + 1) / threads_);
        shares_[std::size_t(thread)].word.store(pack(step, begin, end), std::memory_order_release);
    }
    step_.store(step, std::memory_order_seq_cst);
    if (parked_.load(std::memory_order_seq_cst) > 0) step_.notify_all();
    return step;
}

void Workers::share(int items, Call call, const void* context) {
    call_ = call;
    context_ = context;
    const int mine = work(0, publish(items));
    expected_ += std::uint32_t(items - mine);
    while (done_.load(std::memory_order_acquire) != expected_) relax();
}

bool Workers::take_from(Share& share, std::uint32_t step, bool front, int& item) {
    std::uint64_t word = share.word.load(std::memory_order_acquire);
    for (;;) {
        const auto begin = std::uint32_t(word >> 16 & 0xffff), end = std::uint32_t(word & 0xffff);
        if (std::uint32_t(word >> 32) != step || begin >= end) return false;
        const std::uint64_t left = front ? pack(step, begin + 1, end) : pack(step, begin, end - 1);
        if (share.word.compare_exchange_weak(word, left, std::memory_order_acq_rel, std::memory_order_acquire)) {
            item = int(front ? begin : end - 1);
            return true;
        }
    }
}

bool Workers::take(int thread, std::uint32_t step, int& item) {
    for (int other = 0; other < threads_; ++other) {
        Share& share = shares_[std::size_t((thread + other) % threads_)];
        if (take_from(share, step, other == 0, item)) return true;
    }
    return false;
}

// Executes items until none of the step is left to take or steal; returns their number.
int Workers::work(int thread, std::uint32_t step) {
    int count = 0;
    for (int item; take(thread, step, item); ++count) call_(context_, item, thread);
    return count;
}

// A worker's loop: it spins on its own share, whose word announces a step together with its items, then parks on step_.
void Workers::serve(int thread) {
    const std::atomic<std::uint64_t>& word = shares_[std::size_t(thread)].word;
    std::uint32_t seen = 0;
    for (;;) {
        auto step = std::uint32_t(word.load(std::memory_order_acquire) >> 32);
        for (int spin = 0; step == seen; ++spin) {
            if (spin < spins_before_parking) {
                relax();
            } else {
                parked_.fetch_add(1, std::memory_order_seq_cst);
                step_.wait(seen, std::memory_order_seq_cst);
                parked_.fetch_sub(1, std::memory_order_relaxed);
            }
            step = std::uint32_t(word.load(std::memory_order_acquire) >> 32);
        }
        if (stopping_) return;
        seen = step;
        if (const int count = work(thread, step)) done_.fetch_add(std::uint32_t(count), std::memory_order_acq_rel);
    }
}

}  // namespace downshift
