// An array of plain values on 64-byte boundaries, zero at first, with a cache line of slack behind it.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace downshift {

template <class T>
class Aligned {
public:
    Aligned() = default;
    explicit Aligned(std::size_t size)
        : size_(size), values_(static_cast<T*>(::operator new(bytes(), std::align_val_t(64)))) {
        std::memset(static_cast<void*>(values_.get()), 0, bytes());
    }
    explicit Aligned(const std::vector<T>& values) : Aligned(values.size()) {
        std::copy(values.begin(), values.end(), data());
    }

    T* data() const { return values_.get(); }
    std::size_t size() const { return size_; }
    std::size_t bytes() const { return size_ * sizeof(T) + 64; }

private:
    struct Free {
        void operator()(T* values) const { ::operator delete(values, std::align_val_t(64)); }
    };
    std::size_t size_ = 0;
    std::unique_ptr<T, Free> values_;
};

}  // namespace downshift
