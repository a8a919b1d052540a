// A thread pool with work stealing for a sequence of short parallel steps.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace downshift {

class Workers {
public:
    explicit Workers(int threads);  // the caller of `run` is one of them
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    int threads() const { return threads_; }

    // Parallel for: calls job(item, thread) once for every item in [0, items) and returns when all have returned (a
    // barrier). Work stealing: every thread starts with a contiguous share of its own, then steals from
    // the ends of the others' shares, so a descheduled thread delays the step by at most the item it is in.
    // Jobs do not throw. One run at a time: hold `exclusive` from the first run of a sequence to its last.
    template <class Job>
    void run(int items, const Job& job) {
        if (threads_ == 1 || items == 1) {
            for (int item = 0; item < items; ++item) job(item, 0);
            return;
        }
        for (int first = 0; first < items; first += most_items) {
            const auto shifted = [&](int item, int thread) { job(first + item, thread); };
            using Shifted = decltype(shifted);
            share(std::min(most_items, items - first),
                  [](const void* context, int item, int thread) { (*static_cast<Shifted*>(context))(item, thread); }, &shifted);
        }
    }

    // Data parallelism over examples while they fill all threads: alone(example, thread), so that an example's activations
    // stay in a core's cache. The remainder one after the other: together(example), which may run steps in parallel.
    template <class Alone, class Together>
    void run_batch(int examples, const Alone& alone, const Together& together) {
        const int even = threads_ == 1 ? 0 : examples / threads_ * threads_;
        if (even > 0) run(even, alone);
        for (int example = even; example < examples; ++example) together(example);
    }

    std::mutex exclusive;

private:
    static constexpr int most_items = 0xffff;  // of one step: a share's begin and end are 16 bits each

    using Call = void (*)(const void*, int, int);

    // Step number and the remaining items [begin, end) of a thread's share, in one word for compare-and-swap.
    struct alignas(64) Share {
        std::atomic<std::uint64_t> word{0};
    };

    void share(int items, Call call, const void* context);
    std::uint32_t publish(int items);
    bool take(int thread, std::uint32_t step, int& item);
    bool take_from(Share& share, std::uint32_t step, bool front, int& item);
    int work(int thread, std::uint32_t step);
    void serve(int thread);

    int threads_;
    std::unique_ptr<Share[]> shares_;
    alignas(64) std::atomic<std::uint32_t> step_{0};
    alignas(64) std::atomic<std::uint32_t> done_{0};  // items completed by the other threads, cumulative
    alignas(64) std::atomic<int> parked_{0};
    std::uint32_t expected_ = 0;                      // what done_ must reach
    Call call_ = nullptr;
    const void* context_ = nullptr;
    bool stopping_ = false;
    std::vector<std::thread> others_;
};

}  // namespace downshift
