# `cmake --install build --prefix DIR`: the programs, launch scripts, recipes and pages, and a CMake package, so that
# another project says find_package(dagpam) and links dagpam::attention, ::trainer or any other folder:
#   DIR/bin                     dagpam, dagpam-tokenize
#   DIR/include/dagpam          headers, included as "attention/attention.h"
#   DIR/lib                     static libraries
#   DIR/lib/cmake/dagpam        dagpamConfig.cmake; finds what they link, LibTorch where this build found it
#   DIR/share/dagpam            launch/ and configs/recipes
#   DIR/share/doc/dagpam
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(dagpam_package ${CMAKE_INSTALL_LIBDIR}/cmake/dagpam)
set(dagpam_headers ${CMAKE_INSTALL_INCLUDEDIR}/dagpam)
set(dagpam_share ${CMAKE_INSTALL_DATADIR}/dagpam)

set(dagpam_exported protos event_protos configs data parallel attention checkpoint huggingface telemetry planning
  trainer hopper_kernels)
foreach(name IN LISTS dagpam_exported)
  set_target_properties(dagpam_${name} PROPERTIES EXPORT_NAME ${name})
  list(APPEND dagpam_export_targets dagpam_${name})
endforeach()
install(TARGETS ${dagpam_export_targets} EXPORT dagpam ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${dagpam_headers})
install(EXPORT dagpam NAMESPACE dagpam:: FILE dagpamTargets.cmake DESTINATION ${dagpam_package})

foreach(folder IN ITEMS configs data parallel attention trainer)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${dagpam_headers} FILES_MATCHING PATTERN "*.h"
    PATTERN hopper EXCLUDE)
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/configs/ DESTINATION ${dagpam_headers}/configs FILES_MATCHING
  PATTERN "*.pb.h" PATTERN CMakeFiles EXCLUDE)

# The programs keep the paths that they were linked with: LibTorch's and NVIDIA's folders.
set_target_properties(dagpam PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS dagpam dagpam-tokenize RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS mpirun_local mpirun_hosts slurm.sbatch sweep bleu figures plot to_wandb prepare_hf nanogpt_meta
  DESTINATION ${dagpam_share}/launch)
install(FILES cluster.env.example DESTINATION ${dagpam_share}/launch)
install(PROGRAMS lib/bind_rank DESTINATION ${dagpam_share}/launch/lib)
install(FILES lib/common.sh lib/cluster.sh DESTINATION ${dagpam_share}/launch/lib)
install(DIRECTORY lib/sweep lib/figures lib/metrics lib/hf_data DESTINATION ${dagpam_share}/launch/lib PATTERN __pycache__ EXCLUDE)
install(DIRECTORY sweeps DESTINATION ${dagpam_share}/launch)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/configs/recipes ${PROJECT_SOURCE_DIR}/configs/clusters
  DESTINATION ${dagpam_share}/configs)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/dagpamConfig.cmake.in ${PROJECT_BINARY_DIR}/package/dagpamConfig.cmake
  INSTALL_DESTINATION ${dagpam_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/dagpamConfigVersion.cmake
  COMPATIBILITY ExactVersion)  # C++ libraries of a program: no promise from one version to the next
install(FILES ${PROJECT_BINARY_DIR}/package/dagpamConfig.cmake ${PROJECT_BINARY_DIR}/package/dagpamConfigVersion.cmake
  cmake/libtorch.cmake DESTINATION ${dagpam_package})
