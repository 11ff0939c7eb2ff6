// SPDX-License-Identifier: MIT
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/checksum.h"
#include "plan/plan_file.h"
#include "plan/plan_file_layout.h"

namespace unrolled {

// The first byte and the line ends show a file that was sent as text.
const unsigned char kPlanFileMagic[kPlanFileMagicSize] = {0x89, 'U', 'N', 'R', '\r', '\n', 0x1A, '\n'};

namespace {

using namespace plan_file;

class Writer {
 public:
  template <typename T>
  void put(T value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    tables_.insert(tables_.end(), from, from + sizeof(value));
  }
  void put_count(std::size_t count) { put(static_cast<std::uint32_t>(count)); }
  void put_index(Index value) { put(static_cast<std::int64_t>(value)); }

  void put_string(const std::string& text) {
    put_count(text.size());
    const auto* from = reinterpret_cast<const std::byte*>(text.data());
    tables_.insert(tables_.end(), from, from + text.size());
  }

  void put_sizes(std::span<const Index> sizes) {
    put_count(sizes.size());
    for (const Index size : sizes) put_index(size);
  }

  void put_type(const TensorType& type) {
    put(type.dtype);
    put_sizes({type.shape.dims, static_cast<std::size_t>(type.shape.rank)});
  }

  void put_plan(const Plan& plan) {
    const Graph& graph = plan.graph();
    std::size_t node = 0;
    std::size_t entries = graph.inputs.size() + graph.constants.size() + graph.nodes.size();
    put_count(entries);
    for (std::size_t id = 0; id < graph.values.size();) {
      const Value& value = graph.values[id];
      switch (value.kind) {
        case ValueKind::kInput:
          put(Entry::kInput);
          put(value.type.dtype);
          put(static_cast<std::uint8_t>(value.type.shape.rank));
          ++id;
          break;
        case ValueKind::kConstant: {
          const void* data = graph.constants[static_cast<std::size_t>(value.index)].data();
          put(Entry::kConstant);
          put_weight(value.type, data);
          ++id;
          break;
        }
        case ValueKind::kComputed:
          // Every operation has outputs, and they follow each other.
          put(Entry::kOperation);
          put_string(graph.nodes[node].record->schema.name);
          put_arguments(graph.nodes[node].arguments);
          id += graph.nodes[node].outputs.size();
          ++node;
          break;
      }
    }
    put_count(graph.outputs.size());
    for (const int output : graph.outputs) put_count(static_cast<std::size_t>(output));
  }

  std::vector<std::byte> finish(std::span<const std::byte> head) {
    // The list of weights is read before what uses them.
    std::vector<std::byte> body;
    body.swap(tables_);
    tables_.assign(head.begin(), head.end());
    put_count(weights_.size());
    for (const Weight& weight : weights_) {
      put_type(weight.type);
      put(static_cast<std::uint64_t>(weight.offset));
    }
    tables_.insert(tables_.end(), body.begin(), body.end());

    Header header{};
    std::memcpy(header.magic, kPlanFileMagic, sizeof(header.magic));
    header.byte_order = kByteOrder;
    header.version = kVersion;
    header.tables_size = tables_.size();
    header.weights_offset = aligned(sizeof(Header) + tables_.size());
    header.weights_size = weights_size_;
    header.file_size = header.weights_offset + weights_size_;
    std::vector<std::byte> bytes(header.file_size);
    std::memcpy(bytes.data() + sizeof(Header), tables_.data(), tables_.size());
    std::byte* weights = bytes.data() + header.weights_offset;
    for (const Weight& weight : weights_) {
      if (weight.bytes > 0) std::memcpy(weights + weight.offset, weight.data, weight.bytes);
    }
    header.tables_checksum = crc32({bytes.data() + sizeof(Header), tables_.size()});
    header.weights_checksum = crc32({weights, weights_size_});
    header.header_checksum =
        crc32({reinterpret_cast<const std::byte*>(&header), offsetof(Header, header_checksum)});
    std::memcpy(bytes.data(), &header, sizeof(header));
    return bytes;
  }

  std::vector<std::byte> take_tables() { return std::exchange(tables_, {}); }

 private:
  struct Weight {
    TensorType type;
    const void* data;
    std::size_t bytes;
    std::size_t offset;
  };

  static std::size_t aligned(std::size_t bytes) {
    return (bytes + static_cast<std::size_t>(kAlignment) - 1) & ~(static_cast<std::size_t>(kAlignment) - 1);
  }

  // Equal arrays are written once: the two plans of a model use the same weights.
  void put_weight(const TensorType& type, const void* data) {
    const auto bytes = static_cast<std::size_t>(byte_count(type));
    const std::uint32_t hash = crc32({static_cast<const std::byte*>(data), bytes});
    const auto [first, last] = by_hash_.equal_range(hash);
    for (auto found = first; found != last; ++found) {
      const Weight& weight = weights_[found->second];
      if (weight.type == type && (bytes == 0 || std::memcmp(weight.data, data, bytes) == 0)) {
        return put_count(found->second);
      }
    }
    by_hash_.emplace(hash, weights_.size());
    put_count(weights_.size());
    weights_.push_back({type, data, bytes, weights_size_});
    weights_size_ = aligned(weights_size_ + bytes);
  }

  void put_arguments(const Arguments& arguments) {
    put_count(arguments.values.size());
    for (std::size_t i = 0; i < arguments.values.size(); ++i) {
      put_string(arguments.schema->parameters[i].name);
      std::visit([this](const auto& value) { put_value(value); }, arguments.values[i]);
    }
  }

  void put_value(std::monostate) { put(Tag::kNone); }
  void put_value(bool value) {
    put(Tag::kBool);
    put(static_cast<std::uint8_t>(value));
  }
  void put_value(Index value) {
    put(Tag::kInt);
    put_index(value);
  }
  void put_value(double value) {
    put(Tag::kFloat);
    put(value);
  }
  void put_value(const std::string& value) {
    put(Tag::kString);
    put_string(value);
  }
  void put_value(DType value) {
    put(Tag::kDType);
    put(value);
  }
  void put_value(const std::vector<Index>& value) {
    put(Tag::kInts);
    put_sizes(value);
  }
  void put_value(const std::vector<std::vector<Index>>& value) {
    put(Tag::kShapes);
    put_count(value.size());
    for (const std::vector<Index>& shape : value) put_sizes(shape);
  }
  void put_value(const kernels::Activation& value) {
    put(Tag::kActivation);
    put_string(to_string(value.kind));
    put(value.alpha);
    put(value.beta);
    put(value.gamma);
  }
  void put_value(const Array& value) {
    put(Tag::kArray);
    put_weight({DType::kFloat32, value.shape}, value.data);
  }
  void put_value(const std::shared_ptr<const Plan>& value) {
    put(Tag::kPlan);
    put_plan(*value);
  }
  void put_value(const std::vector<Arguments>& value) {
    put(Tag::kParts);
    put_count(value.size());
    for (const Arguments& part : value) put_arguments(part);
  }

  std::vector<std::byte> tables_;
  std::vector<Weight> weights_;
  std::unordered_multimap<std::uint32_t, std::size_t> by_hash_;
  std::size_t weights_size_ = 0;
};

}  // namespace

std::vector<std::byte> write_plan_file(const PlanFile& file) {
  if constexpr (std::endian::native != std::endian::little) {
    fail({"plan files are little-endian; they cannot be written on this machine"});
  }
  if (file.name.size() > kMaxName || file.description.size() > kMaxDescription) {
    fail({"the model's name or its structure of inputs and outputs is too long for a plan file"});
  }
  Writer writer;
  writer.put_string(file.name);
  writer.put_string(file.description);
  for (const std::vector<TensorDescription>* tensors : {&file.inputs, &file.outputs}) {
    writer.put_count(tensors->size());
    for (const TensorDescription& tensor : *tensors) {
      writer.put_string(tensor.name);
      writer.put(tensor.dtype);
      writer.put_sizes(tensor.sizes);
    }
  }
  const std::vector<std::byte> head = writer.take_tables();
  writer.put_plan(*file.plan);
  writer.put(static_cast<std::uint8_t>(file.stream_plan != nullptr));
  if (file.stream_plan) {
    writer.put_plan(*file.stream_plan);
    writer.put_count(file.states.size());
    for (const CarriedState& state : file.states) {
      writer.put_type(state.row);
      writer.put(state.initial);
    }
    writer.put_count(file.sequence_outputs.size());
    for (const bool is_sequence : file.sequence_outputs) writer.put(static_cast<std::uint8_t>(is_sequence));
  }
  return writer.finish(head);
}

}  // namespace unrolled
