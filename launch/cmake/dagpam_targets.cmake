# dagpam_library(NAME SOURCES... [PUBLIC libs...] [PRIVATE libs...]): one static library per folder.
function(dagpam_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(dagpam_${name} STATIC ${arg_SOURCES})
  add_library(dagpam::${name} ALIAS dagpam_${name})
  target_include_directories(dagpam_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}>)
  target_link_libraries(dagpam_${name} PUBLIC ${arg_PUBLIC} PRIVATE $<BUILD_INTERFACE:dagpam::warnings> ${arg_PRIVATE})
endfunction()

# dagpam_row_kernels(VARIABLE TARGET SOURCE): row kernels, one source without LibTorch, a build for each instruction
# set with DAGPAM_ROWS = portable, avx2 or avx512 (parallel/instruction_set.h chooses); VARIABLE gets the objects. Where
# there is one set alone all three are the portable build.
function(dagpam_row_kernels variable target source)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(flags_avx2 -mavx2 -mfma)
    set(flags_avx512 -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma -mprefer-vector-width=512)
  endif()
  set(objects)
  foreach(set IN ITEMS portable avx2 avx512)
    add_library(${target}_${set} OBJECT ${source})
    target_include_directories(${target}_${set} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${target}_${set} PRIVATE dagpam::warnings)
    target_compile_definitions(${target}_${set} PRIVATE DAGPAM_ROWS=${set})
    # openmp-simd: the pragmas alone, no runtime. No trapping: selections become blends, not branches.
    target_compile_options(${target}_${set} PRIVATE -O3 -fopenmp-simd -ffp-contract=fast -fno-math-errno
      -fno-trapping-math ${flags_${set}})
    list(APPEND objects $<TARGET_OBJECTS:${target}_${set}>)
  endforeach()
  set(${variable} ${objects} PARENT_SCOPE)
endfunction()

# Builds the tests that need no LibTorch: they compile in a few minutes under a sanitizer, and run in one.
# ctest -L torch-free runs them.
add_custom_target(torch_free_tests)
set(dagpam_torch_free dagpam::configs dagpam::data dagpam::checkpoint dagpam::huggingface dagpam::telemetry
  dagpam::report dagpam::planning)

# Marks a target and its test as free of LibTorch where the libraries are.
function(dagpam_mark_torch_free target test)
  set(own ${ARGN})
  list(FILTER own INCLUDE REGEX "^dagpam::")
  list(REMOVE_ITEM own ${dagpam_torch_free})
  if(NOT own)
    add_dependencies(torch_free_tests ${target})
    set_property(TEST ${test} APPEND PROPERTY LABELS torch-free)
  endif()
endfunction()

# dagpam_test(folder/name LIBS... [LABELS ...]): tests/folder/name_test.cpp, one CTest entry per test case.
function(dagpam_test path)
  cmake_parse_arguments(arg "" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  string(REPLACE "/" "_" target ${path}_test)
  add_executable(${target} ${PROJECT_SOURCE_DIR}/tests/${path}_test.cpp)
  target_link_libraries(${target} PRIVATE dagpam::warnings ${arg_LIBS} GTest::gtest_main)
  target_compile_definitions(${target} PRIVATE DAGPAM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${path} COMMAND ${target})
  set_tests_properties(${path} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "OMP_NUM_THREADS=1" SKIP_REGULAR_EXPRESSION "SKIPPED WHOLE")
  dagpam_mark_torch_free(${target} ${path} ${arg_LIBS})
endfunction()

# dagpam_mpi_test(folder/name NP 2 4 LIBS...): the same binary under mpirun, one CTest entry a size.
# The test source has a main() of its own that opens a parallel::Session.
function(dagpam_mpi_test path)
  cmake_parse_arguments(arg "" "TIMEOUT" "NP;LIBS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  string(REPLACE "/" "_" target ${path}_test)
  add_executable(${target} ${PROJECT_SOURCE_DIR}/tests/${path}_test.cpp)
  target_link_libraries(${target} PRIVATE dagpam::warnings ${arg_LIBS} GTest::gtest)
  target_compile_definitions(${target} PRIVATE DAGPAM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  foreach(np IN LISTS arg_NP)
    add_test(NAME ${path}_np${np}
      COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe -n ${np} $<TARGET_FILE:${target}>)
    set_tests_properties(${path}_np${np} PROPERTIES LABELS mpi TIMEOUT ${arg_TIMEOUT} PROCESSORS 2
      ENVIRONMENT "OMP_NUM_THREADS=1;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
  endforeach()
endfunction()
