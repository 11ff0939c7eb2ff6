# SPDX-License-Identifier: MIT
# THE list of instruction sets. One row builds cpp/kernels/kernels.cc once more, under its own flags and its
# own namespace (UNROLLED_ISA_NAME), into the object library kernels_<isa>, which exports one table.
# A new ISA is one row here and one line in cpp/kernels/dispatch.cc.
set(kernel_libraries)
set(kernel_definitions)
set(kernel_options -O3)
if(UNROLLED_SANITIZE)
  # At -O3, or with every scope of the unrolled loops poisoned, sanitizers make one kernel object take minutes.
  set(kernel_options -O1 -g1)
  if(UNROLLED_SANITIZE MATCHES "address")
    list(APPEND kernel_options -fno-sanitize-address-use-after-scope)
  endif()
endif()

function(add_isa name)
  add_library(kernels_${name} OBJECT cpp/kernels/kernels.cc)
  target_link_libraries(kernels_${name} PRIVATE unrolled_options Eigen3::Eigen)
  # Eigen is renamed per ISA: its templates would otherwise be merged by the linker across instruction sets.
  target_compile_definitions(kernels_${name} PRIVATE UNROLLED_ISA_NAME=${name} Eigen=Eigen_${name}
                                                     EIGEN_MPL2_ONLY EIGEN_DONT_PARALLELIZE)
  target_compile_options(kernels_${name} PRIVATE ${ARGN})
  set_target_properties(kernels_${name} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
  set(kernel_libraries ${kernel_libraries} kernels_${name} PARENT_SCOPE)
  string(TOUPPER ${name} upper)
  set(kernel_definitions ${kernel_definitions} UNROLLED_HAS_${upper} PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  if(MSVC)
    add_isa(baseline)
    add_isa(avx2 /arch:AVX2)
    add_isa(avx512 /arch:AVX512)
  else()
    add_isa(baseline ${kernel_options})
    add_isa(avx2 ${kernel_options} -mavx2 -mfma)
    add_isa(avx512 ${kernel_options} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
            -mprefer-vector-width=512)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  if(MSVC)
    add_isa(neon)
  else()
    add_isa(neon ${kernel_options})
  endif()
else()
  add_isa(baseline ${kernel_options})
endif()
