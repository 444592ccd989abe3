// launch/doctor/surroundings.h: what a rank sees around itself, in a form that travels to the
// others.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace dagpam::parallel {
class Session;
}  // namespace dagpam::parallel

namespace dagpam::launch {

struct Surroundings {
  int rank = 0, local_rank = 0, local_size = 1;
  std::string host;   // with Slurm's name of the node where it has another
  std::string build;  // digest of the program's file
  std::map<std::string, std::string> versions;  // by what, e.g. "LibTorch"
  std::vector<int> cores;                       // numbers of those it may use
  int threads = 1;                              // that it computes with
  std::string group;                            // control group, in which processor time is counted
  double group_cores = -1;                      // of that group; -1: no limit, here and below
  double memory = 0;                            // bytes that the node has to give
  double group_memory = -1, group_memory_used = 0;
  double shared_memory = -1;  // bytes free in /dev/shm; -1: there is none
  double open_files = -1, locked_memory = -1;
  int gpus = 0;
  std::string why_no_gpu;
  int infiniband = 0;                              // devices
  std::map<std::string, std::string> environment;  // that must be alike, see shared_variable()
};

// Whether this variable steers the libraries that ranks meet in, and so must be the same on all;
// not those that a launcher sets for each rank.
bool shared_variable(const std::string& name);

Surroundings look_around(const parallel::Session& session, const std::string& build);

std::string to_text(const Surroundings& surroundings);
// Fields that another build does not know keep their defaults. Throws ConfigError where the text is
// none of ours.
Surroundings surroundings_from_text(const std::string& text);

}  // namespace dagpam::launch
