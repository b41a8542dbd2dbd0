# Files named *_avx2.cc, *_avx512.cc and *_amx.cc under backend/cpu are compiled for that instruction set alone.
# They include no STL (checked with nm in CI), so that no symbol compiled for a newer CPU can replace
# a baseline one.
file(GLOB_RECURSE avx2_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/lathe/backend/cpu/*_avx2.cc)
file(GLOB_RECURSE avx512_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/lathe/backend/cpu/*_avx512.cc)
# Requests for memory stand one by one between the arithmetic where they are written; GCC's last
# scheduling puts them side by side, where each waits for the one before (docs/performance.md).
set(kernel_options "-fno-exceptions")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND kernel_options "-fno-schedule-insns2")
endif()
set_source_files_properties(${avx2_files} PROPERTIES COMPILE_OPTIONS
  "${kernel_options};-mavx2;-mfma;-mf16c;-mbmi2")
file(GLOB_RECURSE amx_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/lathe/backend/cpu/*_amx.cc)
set(avx512_options
  "${kernel_options};-mavx2;-mfma;-mf16c;-mbmi2;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mavx512bf16;-mavx512vbmi;-mavx512vbmi2;-mprefer-vector-width=512")
set_source_files_properties(${avx512_files} PROPERTIES COMPILE_OPTIONS "${avx512_options}")
set_source_files_properties(${amx_files} PROPERTIES COMPILE_OPTIONS
  "${avx512_options};-mamx-tile;-mamx-int8;-mamx-bf16")
# These two may fuse what they multiply and subtract: their bits depend on the instruction set.
set_property(SOURCE ${PROJECT_SOURCE_DIR}/src/lathe/backend/cpu/block_products_avx2.cc
  ${PROJECT_SOURCE_DIR}/src/lathe/backend/cpu/block_products_avx512.cc
  APPEND PROPERTY COMPILE_OPTIONS "-ffp-contract=fast")
