# Compiler cache, warnings and sanitizers for the project's own targets. The linker is the system's own: mold 1.10
# was seen to lay out a program with its thread-local byte astride the read-only pages, which did not start.
find_program(DAGPAM_CCACHE ccache)
if(DAGPAM_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DAGPAM_CCACHE})
endif()

if(DAGPAM_SANITIZE)
  add_compile_options(-fsanitize=${DAGPAM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${DAGPAM_SANITIZE})
endif()

if(DAGPAM_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "DAGPAM_FUZZ needs clang, this is ${CMAKE_CXX_COMPILER_ID}: use the preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(dagpam_warnings INTERFACE)
add_library(dagpam::warnings ALIAS dagpam_warnings)
target_compile_options(dagpam_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wconversion;-Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Wshadow>)

# One program serves the GPUs of this list: A100, H100 and H200, and, by their intermediate code, later ones.
set(DAGPAM_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "As CMAKE_CUDA_ARCHITECTURES")
if(DAGPAM_CUDA)
  if(DAGPAM_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${DAGPAM_CCACHE})
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${DAGPAM_CUDA_ARCHITECTURES})
  set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no later one for nvcc 13
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # one runtime in the process: LibTorch's
  find_package(CUDAToolkit REQUIRED)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})  # also where it is not in the path
  endif()
  enable_language(CUDA)
endif()
