// SPDX-License-Identifier: MIT
// Every number of a plan file is checked before it is used: nobody knows where the file comes from.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>

#include "base/checksum.h"
#include "plan/builder.h"
#include "plan/plan_file.h"
#include "plan/plan_file_layout.h"

namespace unrolled {
namespace {

using namespace plan_file;

[[noreturn]] void broken(std::initializer_list<std::string> parts) {
  std::string message = "plan file: ";
  for (const std::string& part : parts) message += part;
  // Names of the file may be no text at all.
  for (char& character : message) {
    if (character < ' ' || character > '~') character = '?';
  }
  throw PlanFileError(message);
}

class Reader {
 public:
  Reader(std::span<const std::byte> tables, std::span<const std::byte> weights,
         std::shared_ptr<const void> owner)
      : tables_(tables),
        weight_bytes_(weights),
        owner_(std::move(owner)),
        uses_left_(multiply(static_cast<Index>(weights.size()) + 1024, kMaxUses)) {}

  bool is_at_end() const { return tables_.empty(); }

  template <typename T>
  T take() {
    if (tables_.size() < sizeof(T)) broken({"the tables end too early"});
    T value;
    std::memcpy(&value, tables_.data(), sizeof(T));
    tables_ = tables_.subspan(sizeof(T));
    return value;
  }

  // Of things that take at least `bytes_each`: what is left must have room for them.
  std::size_t take_count(std::size_t bytes_each) {
    const auto count = static_cast<std::size_t>(take<std::uint32_t>());
    if (count > tables_.size() / bytes_each)
      broken({"a count of ", std::to_string(count), " exceeds the file"});
    return count;
  }

  bool take_bool() {
    const auto value = take<std::uint8_t>();
    if (value > 1) broken({"expected 0 or 1, got ", std::to_string(value)});
    return value == 1;
  }

  std::string take_string(std::uint32_t limit) {
    const std::size_t size = take_count(1);
    if (size > limit)
      broken({"a text of ", std::to_string(size), " bytes (at most ", std::to_string(limit), ")"});
    std::string text(reinterpret_cast<const char*>(tables_.data()), size);
    if (text.find('\0') != std::string::npos) broken({"a text with a zero byte"});
    tables_ = tables_.subspan(size);
    return text;
  }

  DType take_dtype() {
    const auto value = take<std::uint8_t>();
    if (value > static_cast<std::uint8_t>(DType::kBool)) broken({"no dtype ", std::to_string(value)});
    return static_cast<DType>(value);
  }

  std::vector<Index> take_ints() {
    std::vector<Index> values(take_count(sizeof(std::int64_t)));
    for (Index& value : values) value = static_cast<Index>(take<std::int64_t>());
    return values;
  }

  // Sizes of at least `least`, at most kMaxRank of them.
  std::vector<Index> take_sizes(Index least) {
    std::vector<Index> sizes = take_ints();
    if (sizes.size() > static_cast<std::size_t>(kMaxRank)) {
      broken({std::to_string(sizes.size()), " axes (at most ", std::to_string(kMaxRank), ")"});
    }
    for (const Index size : sizes) {
      if (size < least || size > kMaxElements) broken({"an axis of size ", std::to_string(size)});
    }
    return sizes;
  }

  TensorType take_type() {
    TensorType type;
    type.dtype = take_dtype();
    type.shape = make_shape(take_sizes(0));
    (void)byte_count(type);
    return type;
  }

  std::vector<TensorDescription> take_descriptions() {
    std::vector<TensorDescription> tensors(take_count(9));
    for (TensorDescription& tensor : tensors) {
      tensor.name = take_string(kMaxName);
      tensor.dtype = take_dtype();
      tensor.sizes = take_sizes(-1);
      if (tensor.sizes.empty()) broken({"an input or output without a batch"});
    }
    return tensors;
  }

  void take_weights() {
    weights_.resize(take_count(13));
    for (Weight& weight : weights_) {
      weight.type = take_type();
      const auto offset = take<std::uint64_t>();
      const auto bytes = static_cast<std::uint64_t>(byte_count(weight.type));
      if (offset % static_cast<std::uint64_t>(kAlignment) != 0 || offset > weight_bytes_.size() ||
          bytes > weight_bytes_.size() - offset) {
        broken({"a weight ", to_string(weight.type), " at byte ", std::to_string(offset), " is outside the ",
                std::to_string(weight_bytes_.size()), " bytes of weights, or not at a multiple of 64"});
      }
      weight.data = weight_bytes_.data() + offset;
    }
  }

  std::shared_ptr<const Plan> take_plan(int nesting) {
    if (nesting > kMaxNesting) broken({"plans are nested too deeply"});
    Builder builder;
    for (std::size_t left = take_count(3); left > 0; --left) {
      switch (take<Entry>()) {
        case Entry::kInput: {
          const DType dtype = take_dtype();
          builder.input(dtype, take<std::uint8_t>());
          break;
        }
        case Entry::kConstant: {
          const Weight& weight = use_weight();
          if (weight.type.dtype == DType::kBool) check_bools(weight);
          builder.constant(weight.type, weight.data);
          break;
        }
        case Entry::kOperation: {
          const OpRecord& record = find_operation(take_string(kMaxName));
          builder.add(record, take_arguments(record.schema, nesting));
          break;
        }
        default:
          broken({"an entry of a plan of unknown kind"});
      }
    }
    std::vector<int> outputs(take_count(sizeof(std::uint32_t)));
    for (int& output : outputs) {
      const auto id = take<std::uint32_t>();
      if (id > static_cast<std::uint32_t>(Graph::kNever)) broken({"no value ", std::to_string(id)});
      output = static_cast<int>(id);
    }
    return builder.finish(std::move(outputs));
  }

 private:
  struct Weight {
    TensorType type;
    const std::byte* data = nullptr;
  };

  const Weight& use_weight() {
    const auto index = take<std::uint32_t>();
    if (index >= weights_.size()) broken({"no weight ", std::to_string(index)});
    const Weight& weight = weights_[index];
    uses_left_ -= byte_count(weight.type) + 64;
    if (uses_left_ < 0) broken({"its operations use its weights too often"});
    return weight;
  }

  static void check_bools(const Weight& weight) {
    const std::span values(weight.data, static_cast<std::size_t>(byte_count(weight.type)));
    if (std::any_of(values.begin(), values.end(), [](std::byte value) { return value > std::byte{1}; })) {
      broken({"a bool that is neither 0 nor 1"});
    }
  }

  static const OpRecord& find_operation(const std::string& name) {
    for (const OpRecord& record : operations()) {
      if (name == record.schema.name) return record;
    }
    broken({"no operation '", name, "' in this version"});
  }

  Arguments take_arguments(const Schema& schema, int nesting) {
    if (nesting > kMaxNesting) broken({"arguments are nested too deeply"});
    Arguments result{&schema, {}};
    std::vector<bool> is_given(schema.parameters.size());
    for (const Parameter& parameter : schema.parameters) {
      result.values.push_back(parameter.default_value.value_or(std::monostate{}));
    }
    for (std::size_t left = take_count(5); left > 0; --left) {
      const std::string name = take_string(kMaxName);
      const auto found = std::find_if(schema.parameters.begin(), schema.parameters.end(),
                                      [&](const Parameter& parameter) { return name == parameter.name; });
      if (found == schema.parameters.end())
        broken({schema.name, ": no parameter '", name, "' in this version"});
      const auto index = static_cast<std::size_t>(found - schema.parameters.begin());
      if (is_given[index]) broken({schema.name, ": ", name, " is given twice"});
      is_given[index] = true;
      result.values[index] = take_argument(schema, *found, nesting);
    }
    for (std::size_t i = 0; i < is_given.size(); ++i) {
      if (!is_given[i] && !schema.parameters[i].default_value) {
        broken({schema.name, ": ", schema.parameters[i].name, " is missing"});
      }
    }
    if (schema.check) schema.check(result);
    return result;
  }

  static Tag tag_of(Kind kind) {
    switch (kind) {
      case Kind::kOperand:
      case Kind::kInt:
        return Tag::kInt;
      case Kind::kOperands:
      case Kind::kInts:
        return Tag::kInts;
      case Kind::kBool:
        return Tag::kBool;
      case Kind::kFloat:
        return Tag::kFloat;
      case Kind::kString:
        return Tag::kString;
      case Kind::kDType:
        return Tag::kDType;
      case Kind::kShapes:
        return Tag::kShapes;
      case Kind::kActivation:
        return Tag::kActivation;
      case Kind::kArray:
        return Tag::kArray;
      case Kind::kPlan:
        return Tag::kPlan;
      case Kind::kParts:
        return Tag::kParts;
    }
    throw std::logic_error("an unknown kind of argument");
  }

  Argument take_argument(const Schema& schema, const Parameter& parameter, int nesting) {
    const Tag tag = take<Tag>();
    if (tag == Tag::kNone && parameter.allows_none) return std::monostate{};
    if (tag != tag_of(parameter.kind)) {
      broken({schema.name, ": ", parameter.name, " is of another kind than expected"});
    }
    switch (tag) {
      case Tag::kBool:
        return take_bool();
      case Tag::kInt:
        return static_cast<Index>(take<std::int64_t>());
      case Tag::kFloat:
        return take<double>();
      case Tag::kString:
        return take_string(kMaxName);
      case Tag::kDType:
        return take_dtype();
      case Tag::kInts:
        return take_ints();
      case Tag::kShapes: {
        std::vector<std::vector<Index>> shapes(take_count(sizeof(std::uint32_t)));
        for (std::vector<Index>& shape : shapes) shape = take_ints();
        return shapes;
      }
      case Tag::kActivation: {
        kernels::Activation activation;
        activation.kind = activation_kind(take_string(kMaxName));
        activation.alpha = take<float>();
        activation.beta = take<float>();
        activation.gamma = take<float>();
        return activation;
      }
      case Tag::kArray: {
        const Weight& weight = use_weight();
        if (weight.type.dtype != DType::kFloat32) {
          broken({schema.name, ": ", parameter.name, " is ", to_string(weight.type), ", expected float32"});
        }
        return Array{reinterpret_cast<const float*>(weight.data), weight.type.shape, owner_};
      }
      case Tag::kPlan:
        return take_plan(nesting + 1);
      case Tag::kParts: {
        std::vector<Arguments> parts;
        for (std::size_t left = take_count(sizeof(std::uint32_t)); left > 0; --left) {
          parts.push_back(take_arguments(*parameter.parts, nesting + 1));
        }
        return parts;
      }
      case Tag::kNone:
        break;
    }
    broken({"an argument of unknown kind"});
  }

  std::span<const std::byte> tables_;
  std::span<const std::byte> weight_bytes_;
  std::shared_ptr<const void> owner_;
  std::vector<Weight> weights_;
  Index uses_left_;
};

Header take_header(std::span<const std::byte> bytes) {
  Header header;
  if (bytes.size() < sizeof(header))
    broken({"expected at least 64 bytes, got ", std::to_string(bytes.size())});
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kPlanFileMagic, sizeof(header.magic)) != 0) {
    broken({"it does not begin as a plan file does"});
  }
  if (header.byte_order != kByteOrder) broken({"little-endian files cannot be read on this machine"});
  // Later versions may have another checksum, so this comes first.
  if (header.version < 1 || header.version > kVersion) {
    broken({"version ", std::to_string(header.version), ", this unrolled reads up to ",
            std::to_string(kVersion), "; export the model again or install a later unrolled"});
  }
  if (crc32(bytes.first(offsetof(Header, header_checksum))) != header.header_checksum) {
    broken({"the checksum of its header is wrong"});
  }
  if (header.file_size != bytes.size()) {
    broken({"its header says ", std::to_string(header.file_size), " bytes, it has ",
            std::to_string(bytes.size())});
  }
  const std::uint64_t size = bytes.size();
  if (header.tables_size > size - sizeof(header) ||
      header.weights_offset < sizeof(header) + header.tables_size || header.weights_offset > size ||
      header.weights_size != size - header.weights_offset ||
      header.weights_offset % static_cast<std::uint64_t>(kAlignment) != 0 || header.reserved != 0) {
    broken({"the sizes in its header do not fit each other"});
  }
  return header;
}

void check_tensors(const char* what, const std::vector<TensorDescription>& tensors, std::size_t of_plan) {
  if (tensors.empty() || tensors.size() != of_plan) {
    broken({std::to_string(tensors.size()), " ", what, ", its plan has ", std::to_string(of_plan)});
  }
}

void check_inputs(const PlanFile& file, const Plan& plan) {
  for (std::size_t i = 0; i < file.inputs.size(); ++i) {
    const TensorType& type = plan.input_type(i);
    if (type.dtype != file.inputs[i].dtype ||
        static_cast<std::size_t>(type.shape.rank) != file.inputs[i].sizes.size()) {
      broken({"input ", std::to_string(i), " is not what its plan takes"});
    }
  }
}

void check_stream(const PlanFile& file) {
  const Plan& plan = *file.stream_plan;
  if (file.sequence_outputs.size() != file.outputs.size() ||
      plan.input_count() != file.inputs.size() + file.states.size() ||
      plan.output_count() != file.outputs.size() + file.states.size()) {
    broken({"its plan for streams does not fit its inputs, outputs and states"});
  }
  check_inputs(file, plan);
  for (const TensorDescription& input : file.inputs) {
    if (input.sizes.size() < 2 ||
        std::any_of(input.sizes.begin() + 2, input.sizes.end(), [](Index size) { return size < 0; })) {
      broken({"an input of a stream has unknown sizes"});
    }
  }
  const StreamPlan stream = file.stream();
  for (std::size_t i = 0; i < file.states.size(); ++i) {
    const TensorType& type = plan.input_type(file.inputs.size() + i);
    if (type.dtype != file.states[i].row.dtype || type.shape.rank != file.states[i].row.shape.rank + 1) {
      broken({"state ", std::to_string(i), " is not what its plan takes"});
    }
  }
  stream.check();
  const std::vector<TensorType> outputs = plan.infer(stream.types(1, 1));
  for (std::size_t i = 0; i < file.outputs.size(); ++i) {
    if (file.sequence_outputs[i] && outputs[i].shape.rank < 2) broken({"an output without a time axis"});
  }
}

}  // namespace

StreamPlan PlanFile::stream() const {
  StreamPlan result;
  result.plan = stream_plan.get();
  result.output_count = outputs.size();
  result.states = states;
  for (const TensorDescription& input : inputs) {
    std::vector<Index> sizes = input.sizes;
    sizes[0] = sizes[1] = 1;
    result.inputs.push_back({input.dtype, make_shape(sizes)});
  }
  return result;
}

PlanFile read_plan_file(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                        bool verify) try {
  if constexpr (std::endian::native != std::endian::little) {
    broken({"little-endian files cannot be read on this machine"});
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % static_cast<std::uintptr_t>(kAlignment) != 0) {
    broken({"expected memory that begins at a multiple of 64"});
  }
  const Header header = take_header(bytes);
  const std::span<const std::byte> tables = bytes.subspan(sizeof(Header), header.tables_size);
  const std::span<const std::byte> weights = bytes.subspan(header.weights_offset);
  if (crc32(tables) != header.tables_checksum) broken({"the checksum of its tables is wrong"});
  if (verify && crc32(weights) != header.weights_checksum) broken({"the checksum of its weights is wrong"});

  Reader reader(tables, weights, std::move(owner));
  PlanFile file;
  file.name = reader.take_string(kMaxName);
  file.description = reader.take_string(kMaxDescription);
  file.inputs = reader.take_descriptions();
  file.outputs = reader.take_descriptions();
  reader.take_weights();
  file.plan = reader.take_plan(0);
  check_tensors("inputs", file.inputs, file.plan->input_count());
  check_tensors("outputs", file.outputs, file.plan->output_count());
  check_inputs(file, *file.plan);
  if (reader.take_bool()) {
    file.stream_plan = reader.take_plan(0);
    file.states.resize(reader.take_count(9));
    for (CarriedState& state : file.states) {
      state.row = reader.take_type();
      state.initial = reader.take<float>();
    }
    file.sequence_outputs.resize(reader.take_count(1));
    for (std::size_t i = 0; i < file.sequence_outputs.size(); ++i)
      file.sequence_outputs[i] = reader.take_bool();
    check_stream(file);
  }
  if (!reader.is_at_end()) broken({"bytes are left after its tables"});
  return file;
} catch (const PlanFileError&) {
  throw;
} catch (const std::invalid_argument& error) {  // of an operation, or of arithmetic on shapes
  broken({error.what()});
}

}  // namespace unrolled
