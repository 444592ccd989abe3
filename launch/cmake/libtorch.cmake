# LibTorch from the pinned Python wheel, as imported targets of our own.
#
# find_package(Torch) of that wheel stops on a machine without a CUDA Toolkit, although the CPU libraries
# link and run there; so the libraries are named here. The wheel's include folder also carries fmt and
# google/protobuf headers of other versions than the system's: a folder of symbolic links to the system's,
# searched first, keeps spdlog and the generated .pb.h files working in files that include LibTorch.
#
# Gives: dagpam::torch; with DAGPAM_CUDA also dagpam::nccl, the copy of NCCL that LibTorch itself loads: a process
# with two copies would have two of everything that ranks meet in.
set(DAGPAM_LIBTORCH "" CACHE PATH "The wheel's torch/ folder (default: the one launch/setup put in .deps)")
if(NOT DAGPAM_LIBTORCH)
  file(GLOB dagpam_wheels ${PROJECT_SOURCE_DIR}/.deps/libtorch/lib/python3*/site-packages/torch)
  list(APPEND dagpam_wheels "")
  list(GET dagpam_wheels 0 DAGPAM_LIBTORCH)
endif()
if(NOT EXISTS "${DAGPAM_LIBTORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found in '${DAGPAM_LIBTORCH}': run ./launch/setup, or set DAGPAM_LIBTORCH")
endif()

set(dagpam_shadow ${PROJECT_BINARY_DIR}/system_headers)
file(MAKE_DIRECTORY ${dagpam_shadow})
foreach(name IN ITEMS google fmt spdlog)
  file(CREATE_LINK /usr/include/${name} ${dagpam_shadow}/${name} SYMBOLIC)
endforeach()

get_filename_component(dagpam_site_packages ${DAGPAM_LIBTORCH} DIRECTORY)
file(GLOB dagpam_cuda_folders LIST_DIRECTORIES true ${dagpam_site_packages}/nvidia/*/lib)

# Imported, so that the exported package names it and makes it again where it is found (dagpamConfig.cmake).
add_library(dagpam::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(dagpam::torch SYSTEM INTERFACE
  ${dagpam_shadow} ${DAGPAM_LIBTORCH}/include ${DAGPAM_LIBTORCH}/include/torch/csrc/api/include)
target_link_directories(dagpam::torch INTERFACE ${DAGPAM_LIBTORCH}/lib)
# libtorch.so and libtorch_cpu.so export parts of another libstdc++ (std::filesystem), whose remove_all calls
# address 0 in this process. The options stand before all libraries, so the system's is found first.
target_link_options(dagpam::torch INTERFACE
  "LINKER:--push-state,--no-as-needed" -lstdc++ "LINKER:--pop-state")
# allow-shlib-undefined: libtorch_cpu names libcudart and libcupti, found at run time through rpath.
target_link_options(dagpam::torch INTERFACE
  -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags -Wl,-rpath,${DAGPAM_LIBTORCH}/lib)
foreach(folder IN LISTS dagpam_cuda_folders)
  target_link_options(dagpam::torch INTERFACE -Wl,-rpath,${folder} -Wl,-rpath-link,${folder})
endforeach()
if(DAGPAM_CUDA)
  # Nothing names a symbol of libtorch_cuda: it registers its kernels when it is loaded.
  target_link_libraries(dagpam::torch INTERFACE
    -Wl,--no-as-needed torch torch_cuda -Wl,--as-needed torch_cpu c10_cuda c10)
else()
  target_link_libraries(dagpam::torch INTERFACE torch_cpu c10)
endif()

if(DAGPAM_CUDA)
  set(dagpam_nccl_folder ${dagpam_site_packages}/nvidia/nccl)
  if(NOT EXISTS ${dagpam_nccl_folder}/lib/libnccl.so.2)
    message(FATAL_ERROR "NCCL not found in '${dagpam_nccl_folder}': run ./launch/setup, or configure the preset cpu")
  endif()
  add_library(dagpam::nccl SHARED IMPORTED GLOBAL)
  set_target_properties(dagpam::nccl PROPERTIES
    IMPORTED_LOCATION ${dagpam_nccl_folder}/lib/libnccl.so.2
    INTERFACE_INCLUDE_DIRECTORIES ${dagpam_nccl_folder}/include)
endif()
