#include "steps.hpp"

#include <algorithm>
#include <cstring>

namespace downshift {

namespace {

// Granularity: the most items of a step over channels, few enough that scheduling is cheap, enough to balance the load.
constexpr int most_channel_items = 16;

class ChannelStep : public Step {
public:
    ChannelStep(const Isa& isa, Value output)
        : isa_(isa), output_(output), items_(std::min(most_channel_items, output.layout.shape.channels)) {}

    int items() const override { return items_; }
    void run(const Workspace& workspace, int item, float* scratch) const override {
        const int channels = output_.layout.shape.channels;
        for (int c = channels * item / items_; c < channels * (item + 1) / items_; ++c) channel(workspace, c, scratch);
    }

protected:
    virtual void channel(const Workspace& workspace, int c, float* scratch) const = 0;

    // One row, or one vector where that is longer.
    std::size_t row_floats() const { return std::size_t(std::max(output_.layout.pitch, output_.layout.lanes)); }

    float* first_row(const Workspace& workspace, int c) const {
        return output_.plane(workspace, c) + output_.layout.first_row();
    }

    PlaceTask place_task(const Workspace& workspace, int c, float* scratch) const {
        PlaceTask task{};
        task.output = first_row(workspace, c);
        task.height = output_.layout.shape.height;
        task.width = output_.layout.shape.width;
        task.pitch = output_.layout.pitch;
        task.copy_step = output_.layout.copy_step();
        task.copies = output_.layout.copies;
        task.row = scratch;
        task.stride_y = task.stride_x = 1;
        return task;
    }

    void read_plane(PlaceTask& task, const Workspace& workspace, const Value& input, int c) const {
        task.source = input.plane(workspace, c) + input.layout.first_row();
        task.source_height = input.layout.shape.height;
        task.source_width = input.layout.shape.width;
        task.source_pitch = input.layout.pitch;
    }

    const Isa& isa_;
    Value output_;

private:
    int items_;
};

class LoadStep : public ChannelStep {
public:
    using ChannelStep::ChannelStep;
    std::size_t scratch() const override { return row_floats(); }
    std::string describe() const override { return "load"; }

protected:
    void channel(const Workspace& workspace, int c, float* scratch) const override {
        const Shape& shape = output_.layout.shape;
        PlaceTask task = place_task(workspace, c, scratch);
        task.source = workspace.input + std::size_t(c) * std::size_t(shape.height) * std::size_t(shape.width);
        task.source_height = shape.height;
        task.source_width = task.source_pitch = shape.width;
        isa_.place(task);
    }
};

class RearrangeStep : public ChannelStep {
public:
    RearrangeStep(const Isa& isa, Value input, Value output, int stride_y, int stride_x, std::vector<Phase> phases)
        : ChannelStep(isa, output), input_(input), stride_y_(stride_y), stride_x_(stride_x), phases_(std::move(phases)) {}
    std::size_t scratch() const override { return row_floats(); }
    std::string describe() const override { return "rearrange"; }

protected:
    void channel(const Workspace& workspace, int c, float* scratch) const override {
        const int phases = int(phases_.size());
        const Phase& phase = phases_[std::size_t(c % phases)];
        PlaceTask task = place_task(workspace, c, scratch);
        read_plane(task, workspace, input_, c / phases);
        task.stride_y = stride_y_;
        task.stride_x = stride_x_;
        task.top = phase.top;
        task.left = phase.left;
        isa_.place(task);
    }

private:
    Value input_;
    int stride_y_, stride_x_;
    std::vector<Phase> phases_;
};

// The rearrangement for strides of two, one input channel at a time.
class HalveStep : public Step {
public:
    HalveStep(const Isa& isa, Value input, Value output, std::vector<Phase> phases)
        : isa_(isa), input_(input), output_(output), phases_(std::move(phases)),
          items_(std::min(most_channel_items, input.layout.shape.channels)) {}
    int items() const override { return items_; }
    std::string describe() const override { return "halve"; }
    void run(const Workspace& workspace, int item, float*) const override {
        const int channels = input_.layout.shape.channels;
        for (int c = channels * item / items_; c < channels * (item + 1) / items_; ++c)
            for (int top = 0; top < 2; ++top) channel(workspace, c, top);
    }

private:
    void channel(const Workspace& workspace, int c, int top) const {
        const Layout& input = input_.layout;
        HalveTask task{};
        for (std::size_t p = 0; p < phases_.size(); ++p) {
            if (phases_[p].top != top) continue;
            float* plane = output_.plane(workspace, c * int(phases_.size()) + int(p)) + output_.layout.first_row();
            (phases_[p].left ? task.odd : task.even) = plane;
        }
        if (!task.even && !task.odd) return;
        task.source = input_.plane(workspace, c) + input.first_row() + std::ptrdiff_t(top) * input.pitch;
        task.source_rows = input.shape.height - top;
        task.source_width = input.shape.width;
        task.source_pitch = input.pitch;
        task.height = output_.layout.shape.height;
        task.pitch = output_.layout.pitch;
        task.copy_step = output_.layout.copy_step();
        task.copies = output_.layout.copies;
        isa_.halve(task);
    }

    const Isa& isa_;
    Value input_, output_;
    std::vector<Phase> phases_;
    int items_;
};

class ConvStep : public Step {
public:
    ConvStep(const ConvEntry& kernel, Stream stream, const Tiling& tiling, Value source, Value output,
             const Value* residual, int output_channels, Activation activation)
        : kernel_(stream.steps.size() ? kernel.run_steps : kernel.run),
          stream_(std::move(stream)),
          tiling_(tiling),
          source_(source),
          output_(output),
          has_residual_(residual != nullptr),
          masks_(output.layout.lane_masks()) {
        if (residual) residual_ = *residual;
        tiles_ = (output.layout.vectors + tiling.vectors - 1) / tiling.vectors;
        task_.shifts = stream_.shifts.data();
        task_.bias = stream_.bias.data();
        task_.output_channels = output_channels;
        task_.output_plane = output.layout.plane_floats();
        task_.copy_step = output.layout.copy_step();
        task_.copies = output.layout.copies;
        task_.per_row = output.layout.per_row;
        task_.activation = activation;
        if (residual) task_.residual_plane = residual->layout.plane_floats();
    }

    int items() const override { return tiles_ * int(stream_.parts.size()); }

    std::size_t scratch() const override {
        const std::size_t channels = std::size_t(task_.output_channels + tiling_.rows);
        return channels * std::size_t(tiling_.vectors * output_.layout.lanes);
    }

    std::size_t bytes() const override { return stream_.bytes(); }

    void run(const Workspace& workspace, int item, float* scratch) const override {
        const int parts = int(stream_.parts.size());
        const Stream::Part& part = stream_.parts[std::size_t(item % parts)];
        const int vector = item / parts * tiling_.vectors;
        const std::ptrdiff_t at = std::ptrdiff_t(vector) * output_.layout.lanes;
        ConvTask task = task_;
        task.sections = stream_.sections.data() + part.section;
        task.section_count = int(part.section_end - part.section);
        task.channels = stream_.channels.data() + part.unit;
        task.counts = stream_.counts.data() + part.count;
        task.weights = stream_.weights.data() + part.nonzero * std::size_t(tiling_.rows);
        if (stream_.steps.size())
            task.steps = stream_.steps.data() + part.nonzero;
        else
            task.offsets = stream_.offsets.data() + part.nonzero;
        task.source = source_.data(workspace) + at;
        task.output = output_.data(workspace) + output_.layout.first_row() + at;
        if (has_residual_)
            task.residual = residual_.data(workspace) + std::ptrdiff_t(residual_.layout.home()) * output_.layout.lanes + at;
        task.partial = scratch;
        task.masks = masks_.data() + vector;
        task.vectors = std::min(tiling_.vectors, output_.layout.vectors - vector);
        kernel_(task);
    }

    std::string describe() const override {
        const Shape& shape = output_.layout.shape;
        return "conv -> " + std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
               std::to_string(shape.width) + " V" + std::to_string(tiling_.vectors) + " R" +
               std::to_string(tiling_.rows) + " block " + std::to_string(tiling_.block) +
               (tiling_.split ? " split" : "") + " parts " + std::to_string(tiling_.parts) + " nonzeros " +
               std::to_string(stream_.nonzeros) + (stream_.steps.size() ? " by steps" : "");
    }

private:
    ConvKernel kernel_;
    Stream stream_;
    Tiling tiling_;
    Value source_, output_, residual_;
    bool has_residual_;
    std::vector<std::uint16_t> masks_;
    int tiles_;
    ConvTask task_{};
};

class LinearStep : public Step {
public:
    LinearStep(const Isa& isa, const Linear& linear, Value input, Value output, int threads)
        : isa_(isa), input_(input), output_(output) {
        const int inputs = input.layout.shape.width, outputs = output.layout.shape.width;
        const auto zeros = std::count(linear.weights.begin(), linear.weights.end(), 0.0f);
        task_.bias = (bias_ = linear.bias).data();
        task_.inputs = inputs;
        task_.activation = linear.activation;
        const bool worth_sharing = linear.weights.size() - std::size_t(zeros) > (1u << 15);
        items_ = worth_sharing ? std::min(outputs, 4 * threads) : 1;
        if (std::size_t(zeros) * 2 < linear.weights.size()) {
            weights_ = Aligned<float>(linear.weights);
        } else {
            std::vector<float> weights;
            for (int o = 0; o < outputs; ++o) {
                starts_.push_back(std::uint32_t(weights.size()));
                for (int i = 0; i < inputs; ++i) {
                    const float weight = linear.weights[std::size_t(o) * std::size_t(inputs) + std::size_t(i)];
                    if (weight == 0.0f) continue;
                    weights.push_back(weight);
                    indices_.push_back(std::uint16_t(i));
                }
            }
            starts_.push_back(std::uint32_t(weights.size()));
            weights_ = Aligned<float>(weights);
            indices_.shrink_to_fit();
            indices_.reserve(1);  // not null, even when every row is empty
            task_.indices = indices_.data();
            task_.starts = starts_.data();
        }
        task_.weights = weights_.data();
    }

    int items() const override { return items_; }
    std::size_t bytes() const override {
        return weights_.bytes() + (bias_.size() + starts_.size()) * 4 + indices_.size() * 2;
    }
    void run(const Workspace& workspace, int item, float*) const override {
        LinearTask task = task_;
        const int outputs = output_.layout.shape.width;
        task.input = input_.data(workspace);
        task.output = output_.data(workspace);
        task.first = int(std::int64_t(outputs) * item / items_);
        task.end = int(std::int64_t(outputs) * (item + 1) / items_);
        isa_.linear(task);
    }
    std::string describe() const override {
        return "linear -> " + std::to_string(output_.layout.shape.width) + (starts_.empty() ? " dense" : " sparse");
    }

private:
    const Isa& isa_;
    Value input_, output_;
    Aligned<float> weights_;
    std::vector<float> bias_;
    std::vector<std::uint16_t> indices_;
    std::vector<std::uint32_t> starts_;
    LinearTask task_{};
    int items_ = 1;
};

class PoolStep : public ChannelStep {
public:
    PoolStep(const Isa& isa, const Pool& pool, Value input, Value output)
        : ChannelStep(isa, output), pool_(pool), input_(input) {}
    std::size_t scratch() const override {
        const Window& w = pool_.window;
        const int padded = (output_.layout.shape.width - 1) * w.stride_x + w.kernel_x;
        return std::size_t(std::max(padded, w.left + input_.layout.shape.width) + output_.layout.pitch);
    }
    std::string describe() const override { return "pool"; }

protected:
    void channel(const Workspace& workspace, int c, float* scratch) const override {
        const Window& w = pool_.window;
        const Layout& output = output_.layout;
        PoolTask task{};
        task.source = input_.plane(workspace, c) + input_.layout.first_row();
        task.source_height = input_.layout.shape.height;
        task.source_width = input_.layout.shape.width;
        task.source_pitch = input_.layout.pitch;
        task.kernel_y = w.kernel_y;
        task.kernel_x = w.kernel_x;
        task.stride_y = w.stride_y;
        task.stride_x = w.stride_x;
        task.top = w.top;
        task.left = w.left;
        task.maximum = pool_.maximum;
        task.count_padding = pool_.count_padding;
        task.output = first_row(workspace, c);
        task.height = output.shape.height;
        task.width = output.shape.width;
        task.pitch = output.pitch;
        task.copy_step = output.copy_step();
        task.copies = output.copies;
        task.row = scratch;
        isa_.pool(task);
    }

private:
    Pool pool_;
    Value input_;
};

class GlobalAverageStep : public ChannelStep {
public:
    GlobalAverageStep(const Isa& isa, Value input, Value output) : ChannelStep(isa, output), input_(input) {}
    std::string describe() const override { return "global average"; }

protected:
    void channel(const Workspace& workspace, int c, float*) const override {
        const Layout& input = input_.layout;
        const float* home = input_.plane(workspace, c) + std::ptrdiff_t(input.home()) * input.lanes;
        const float mean = isa_.sum(home, input.vectors) / float(input.shape.height * input.shape.width);
        float* pixel = first_row(workspace, c);
        for (int copy = 0; copy < output_.layout.copies; ++copy) pixel[copy * output_.layout.copy_step()] = mean;
    }

private:
    Value input_;
};

class CombineStep : public ChannelStep {
public:
    CombineStep(const Isa& isa, const Combine& combine, Value input, const Value* addend, const Value* factor,
                Value output)
        : ChannelStep(isa, output),
          scale_(combine.scale),
          shift_(combine.shift),
          activation_(combine.activation),
          input_(input),
          has_addend_(addend != nullptr),
          has_factor_(factor != nullptr),
          masks_(output.layout.lane_masks()) {
        if (addend) addend_ = *addend;
        if (factor) factor_ = *factor;
    }
    std::string describe() const override { return "combine"; }

protected:
    void channel(const Workspace& workspace, int c, float*) const override {
        const std::size_t at = std::size_t(c);
        CombineTask task{};
        task.input = home(workspace, input_, c);
        task.addend = has_addend_ ? home(workspace, addend_, c) : nullptr;
        task.output = first_row(workspace, c);
        task.masks = masks_.data();
        task.scale = scale_.empty() ? 1.0f : scale_[at];
        if (has_factor_) task.scale *= *home(workspace, factor_, c);
        task.shift = shift_.empty() ? 0.0f : shift_[at];
        task.vectors = output_.layout.vectors;
        task.copy_step = output_.layout.copy_step();
        task.copies = output_.layout.copies;
        task.activation = activation_;
        isa_.combine(task);
    }

private:
    static const float* home(const Workspace& workspace, const Value& value, int c) {
        return value.plane(workspace, c) + std::ptrdiff_t(value.layout.home()) * value.layout.lanes;
    }

    std::vector<float> scale_, shift_;
    Activation activation_;
    Value input_, addend_, factor_;
    bool has_addend_, has_factor_;
    std::vector<std::uint16_t> masks_;
};

class PlaceStep : public ChannelStep {
public:
    PlaceStep(const Isa& isa, const Place& place, std::vector<Value> inputs, Value output)
        : ChannelStep(isa, output), pieces_(place.pieces), inputs_(std::move(inputs)) {}
    std::size_t scratch() const override { return row_floats(); }
    std::string describe() const override { return "place"; }

protected:
    void channel(const Workspace& workspace, int c, float* scratch) const override {
        PlaceTask task = place_task(workspace, c, scratch);
        for (std::size_t p = 0; p < pieces_.size(); ++p) {
            const Piece& piece = pieces_[p];
            if (c < piece.output_channel || c >= piece.output_channel + piece.channels) continue;
            read_plane(task, workspace, inputs_[p], piece.input_channel + (c - piece.output_channel) * piece.channel_step);
            task.stride_y = piece.stride_y;
            task.stride_x = piece.stride_x;
            task.top = piece.top;
            task.left = piece.left;
        }
        isa_.place(task);  // without a piece the source has no rows, and zeros are written
    }

private:
    std::vector<Piece> pieces_;
    std::vector<Value> inputs_;
};

class FlattenStep : public Step {
public:
    FlattenStep(Value input, Value output) : input_(input), output_(output) {}
    int items() const override { return 1; }
    void run(const Workspace& workspace, int, float*) const override {
        const Layout& layout = input_.layout;
        float* to = output_.data(workspace);
        for (int c = 0; c < layout.shape.channels; ++c) {
            const float* row = input_.plane(workspace, c) + layout.first_row();
            for (int y = 0; y < layout.shape.height; ++y, row += layout.pitch)
                to = std::copy(row, row + layout.shape.width, to);
        }
    }
    std::string describe() const override { return "flatten"; }

private:
    Value input_, output_;
};

class StoreStep : public Step {
public:
    explicit StoreStep(Value input) : input_(input) {}
    int items() const override { return 1; }
    void run(const Workspace& workspace, int, float*) const override {
        std::memcpy(workspace.output, input_.data(workspace), std::size_t(input_.layout.shape.width) * sizeof(float));
    }
    std::string describe() const override { return "store"; }

private:
    Value input_;
};

}  // namespace

std::unique_ptr<Step> load_step(const Isa& isa, Value output) { return std::make_unique<LoadStep>(isa, output); }

std::unique_ptr<Step> rearrange_step(const Isa& isa, Value input, Value output, int stride_y, int stride_x,
                                     std::vector<Phase> phases) {
    const Layout& layout = output.layout;
    const bool halves = stride_y == 2 && stride_x == 2 && (layout.rows == 1 || input.layout.pitch == 2 * layout.pitch) &&
                        std::all_of(phases.begin(), phases.end(), [](const Phase& phase) {
                            return phase.top >= 0 && phase.top < 2 && phase.left >= 0 && phase.left < 2;
                        });
    if (halves) return std::make_unique<HalveStep>(isa, input, output, std::move(phases));
    return std::make_unique<RearrangeStep>(isa, input, output, stride_y, stride_x, std::move(phases));
}

std::unique_ptr<Step> conv_step(const ConvEntry& kernel, Stream stream, const Tiling& tiling, Value source, Value output,
                                const Value* residual, int output_channels, Activation activation) {
    return std::make_unique<ConvStep>(kernel, std::move(stream), tiling, source, output, residual, output_channels,
                                      activation);
}

std::unique_ptr<Step> linear_step(const Isa& isa, const Linear& linear, Value input, Value output, int threads) {
    return std::make_unique<LinearStep>(isa, linear, input, output, threads);
}

std::unique_ptr<Step> pool_step(const Isa& isa, const Pool& pool, Value input, Value output) {
    return std::make_unique<PoolStep>(isa, pool, input, output);
}

std::unique_ptr<Step> global_average_step(const Isa& isa, Value input, Value output) {
    return std::make_unique<GlobalAverageStep>(isa, input, output);
}

std::unique_ptr<Step> combine_step(const Isa& isa, const Combine& combine, Value input, const Value* addend,
                                   const Value* factor, Value output) {
    return std::make_unique<CombineStep>(isa, combine, input, addend, factor, output);
}

std::unique_ptr<Step> place_step(const Isa& isa, const Place& place, std::vector<Value> inputs, Value output) {
    return std::make_unique<PlaceStep>(isa, place, std::move(inputs), output);
}

std::unique_ptr<Step> flatten_step(Value input, Value output) { return std::make_unique<FlattenStep>(input, output); }

std::unique_ptr<Step> store_step(Value input) { return std::make_unique<StoreStep>(input); }

}  // namespace downshift
