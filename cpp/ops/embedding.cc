// SPDX-License-Identifier: MIT
// Rows of a table, looked up by id. An id outside the table is an error of the run, never a read.
#include <cstring>

#include "ops/registry.h"

namespace unrolled {
namespace {

class Embedding final : public Op {
 public:
  explicit Embedding(const Arguments& given) {
    const Array& table = given.get<Array>("table");
    if (table.shape.rank != 2) {
      fail({"embedding: expected a table of rank 2, got ", to_string(table.shape)});
    }
    vocabulary_ = table.shape.dims[0];
    width_ = table.shape.dims[1];
    table_ = table;
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& ids = inputs[0];
    if (ids.dtype == DType::kBool) fail({"embedding: expected int32 or float32 ids, got ", to_string(ids)});
    if (ids.shape.rank == kMaxRank) fail({"embedding: too many axes: ", to_string(ids)});
    TensorType y_type{DType::kFloat32, ids.shape};
    y_type.shape.dims[y_type.shape.rank++] = width_;
    const Index count = element_count(ids.shape);
    const Cost cost{static_cast<double>(count) * (16.0 + 4.0 * static_cast<double>(width_))};
    const bool is_float = ids.dtype == DType::kFloat32;
    return prepared(Rows::kIndependent, {y_type}, {cost}, [=, this](const OpContext& context) noexcept {
      float* y = mutable_floats(context.outputs[0]);
      const auto row_bytes = static_cast<std::size_t>(width_ * size_of(DType::kFloat32));
      const auto* integers = static_cast<const std::int32_t*>(context.inputs[0].data);
      const float* numbers = floats(context.inputs[0]);
      const auto limit = static_cast<float>(vocabulary_);
      const Range range = share_of(count, context.team, 16);
      for (Index i = range.begin; i < range.end; ++i) {
        Index id = -1;
        if (!is_float) {
          id = integers[i];
        } else if (numbers[i] > -1.0f && numbers[i] <= limit) {
          id = static_cast<Index>(numbers[i]);
        }
        float* row = y + i * width_;
        if (id >= 0 && id < vocabulary_) {
          if (row_bytes > 0) std::memcpy(row, table_.data + id * width_, row_bytes);
        } else {
          std::fill_n(row, width_, 0.0f);
          context.error->set("embedding: id %.9g is outside a table of %lld rows",
                             is_float ? static_cast<double>(numbers[i]) : static_cast<double>(integers[i]),
                             static_cast<long long>(vocabulary_));
        }
      }
    });
  }

 private:
  Index vocabulary_ = 0;
  Index width_ = 0;
  Array table_;
};

}  // namespace

OpRecord records::embedding() {
  return record<Embedding>("embedding", {{"ids", kOperand}, {"table", kArray}},
                           "Rows of the table; ids int32, or float32 (truncated).");
}

}  // namespace unrolled
