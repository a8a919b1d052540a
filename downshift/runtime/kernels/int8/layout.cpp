#include "layout.hpp"

#include <algorithm>

namespace downshift::int8 {

Expansion::Expansion(const Map& map, const Map& output, const Window& window, bool foreign)
    : window_(window), groups_(map.groups()), block_height_(map.block_height()) {
    const std::int64_t height = output.block_height(), width = output.block_width(), stride = window.stride;
    inner_height_ = height * stride;
    inner_width_ = width * stride;
    const bool pixel = window.height == 1 && window.width == 1 && window.top == 0 && window.left == 0;
    rows_ = window.top + std::max(inner_height_, (height - 1) * stride + window.height - window.top);
    columns_ = window.left + std::max(inner_width_, (width - 1) * stride + window.width - window.left);
    aligned_ = !foreign && inner_height_ == map.block_height() && inner_width_ == map.block_width() && window.top <= inner_height_ &&
               window.left <= inner_width_ && rows_ - window.top <= 2 * inner_height_ && columns_ - window.left <= 2 * inner_width_;
    resident_ = aligned_ && window.top <= map.margin && window.left <= map.margin &&
                rows_ - window.top <= inner_height_ + map.margin && columns_ - window.left <= inner_width_ + map.margin;
    bare_ = resident_ && window.top == 0 && window.left == 0 && rows_ <= inner_height_ && columns_ <= inner_width_;
    step_ = pixel && !aligned_ ? window.stride : 1;
    rows_ /= step_;
    columns_ /= step_;
    if (resident_) columns_ = map.block_width() + 2 * map.margin;
}

std::vector<std::int32_t> Expansion::gather_table(const Map& map) const {
    std::vector<std::int32_t> table;
    table.reserve(std::size_t(rows_) * std::size_t(columns_) * lanes);
    for (int row = 0; row < rows_; ++row)
        for (int column = 0; column < columns_; ++column)
            for (int lane = 0; lane < lanes; ++lane) {
                const int y = lane / side * int(inner_height_) + row * step_ - window_.top;
                const int x = lane % side * int(inner_width_) + column * step_ - window_.left;
                const bool inside = y >= 0 && y < map.height && x >= 0 && x < map.width;
                table.push_back(inside ? std::int32_t(map.pixel(y, x)) : -1);
            }
    return table;
}

int Expansion::home_row(int row) const {
    const int y = row - window_.top;
    return y < 0 ? y + block_height_ : y % block_height_;
}

int Expansion::down(int row) const {
    const int y = row - window_.top;
    return y < 0 ? 1 : y < block_height_ ? 0 : -1;
}

}  // namespace downshift::int8
