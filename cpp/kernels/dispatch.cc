// SPDX-License-Identifier: MIT
// Detects what the processor and the operating system support; see dispatch.h.
#include "kernels/dispatch.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__) || defined(_M_X64)
#define UNROLLED_X86_64
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace unrolled::kernels {

#define UNROLLED_DECLARE_TABLE(isa)      \
  namespace isa {                        \
  extern const KernelTable kernel_table; \
  }
#if defined(UNROLLED_HAS_BASELINE)
UNROLLED_DECLARE_TABLE(baseline)
#endif
#if defined(UNROLLED_HAS_AVX2)
UNROLLED_DECLARE_TABLE(avx2)
#endif
#if defined(UNROLLED_HAS_AVX512)
UNROLLED_DECLARE_TABLE(avx512)
#endif
#if defined(UNROLLED_HAS_NEON)
UNROLLED_DECLARE_TABLE(neon)
#endif

namespace {

#if defined(UNROLLED_X86_64)

struct CpuidResult {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidResult cpuid(std::uint32_t leaf) {
  CpuidResult r;
#if defined(_MSC_VER)
  int words[4];
  __cpuid(words, 0);
  if (static_cast<std::uint32_t>(words[0]) < leaf) return r;
  __cpuidex(words, static_cast<int>(leaf), 0);
  r.eax = static_cast<std::uint32_t>(words[0]);
  r.ebx = static_cast<std::uint32_t>(words[1]);
  r.ecx = static_cast<std::uint32_t>(words[2]);
  r.edx = static_cast<std::uint32_t>(words[3]);
#else
  if (!__get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx)) return CpuidResult{};
#endif
  return r;
}

// XCR0, which says what registers the operating system saves. Needs OSXSAVE.
std::uint64_t saved_registers() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}

bool has_bits(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

struct X86Features {
  bool avx2 = false;    // AVX2 and FMA, YMM saved
  bool avx512 = false;  // F, BW, DQ, VL as well, ZMM and mask registers saved
};

X86Features x86_features() {
  constexpr std::uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28;        // leaf 1, ecx
  constexpr std::uint32_t kAvx2 = 1u << 5;                                              // leaf 7, ebx
  constexpr std::uint32_t kAvx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  constexpr std::uint64_t kYmmState = 0x6, kZmmState = 0xe6;
  X86Features features;
  if (!has_bits(cpuid(1).ecx, kFma | kOsxsave | kAvx)) return features;
  const std::uint64_t saved = saved_registers();
  const std::uint32_t leaf7 = cpuid(7).ebx;
  features.avx2 = has_bits(saved, kYmmState) && has_bits(leaf7, kAvx2);
  features.avx512 = features.avx2 && has_bits(saved, kZmmState) && has_bits(leaf7, kAvx512);
  return features;
}

#endif

#if defined(UNROLLED_HAS_AVX512) && defined(UNROLLED_HAS_AVX2)

// Cells of at most 8 units fill half a vector of AVX-512 and spend their time in latencies, which are shorter
// for half vectors: they run by the AVX2 kernels, with the same bits.
const KernelTable& cell_table(const CellShape& shape) {
  return shape.units <= avx2::kernel_table.lanes ? avx2::kernel_table : avx512::kernel_table;
}

KernelTable with_narrow_cells(KernelTable table) {
  table.cell_packed_floats = [](const CellShape& shape) {
    return cell_table(shape).cell_packed_floats(shape);
  };
  table.pack_cell = [](const CellShape& shape, const CellWeights& weights, float* packed) {
    cell_table(shape).pack_cell(shape, weights, packed);
  };
  table.sweep_scratch_bytes = [](const CellShape& shape, Index batch, Index timesteps, int team_size) {
    return cell_table(shape).sweep_scratch_bytes(shape, batch, timesteps, team_size);
  };
  table.sweep = [](const SweepArguments& arguments) { cell_table(arguments.shape).sweep(arguments); };
  return table;
}

const KernelTable& avx512_table() {
  static const KernelTable table = with_narrow_cells(avx512::kernel_table);
  return table;
}

#elif defined(UNROLLED_HAS_AVX512)

const KernelTable& avx512_table() { return avx512::kernel_table; }

#endif

// Best last.
std::vector<const KernelTable*> available_tables() {
  std::vector<const KernelTable*> tables;
#if defined(UNROLLED_HAS_BASELINE)
  tables.push_back(&baseline::kernel_table);
#endif
#if defined(UNROLLED_HAS_NEON)
  tables.push_back(&neon::kernel_table);  // every aarch64 processor has it
#endif
#if defined(UNROLLED_X86_64)
  const X86Features features = x86_features();
#if defined(UNROLLED_HAS_AVX2)
  if (features.avx2) tables.push_back(&avx2::kernel_table);
#endif
#if defined(UNROLLED_HAS_AVX512)
  if (features.avx512) tables.push_back(&avx512_table());
#endif
#endif
  return tables;
}

const std::vector<const KernelTable*>& tables() {
  static const std::vector<const KernelTable*> all = available_tables();
  return all;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : tables()) names.emplace_back(table->name);
  return names;
}

const KernelTable& table_by_name(const std::string& name) {
  std::string available;
  for (const KernelTable* table : tables()) {
    if (name == table->name) return *table;
    available += available.empty() ? "" : ", ";
    available += table->name;
  }
  throw std::invalid_argument("instruction set '" + name + "' is not available here; available: " +
                              available + " (environment variable UNROLLED_ISA)");
}

const KernelTable& active_table() {
  static const KernelTable& active = [&]() -> const KernelTable& {
    const char* name = std::getenv("UNROLLED_ISA");
    return name != nullptr && *name != '\0' ? table_by_name(name) : *tables().back();
  }();
  return active;
}

}  // namespace unrolled::kernels
