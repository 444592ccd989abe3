#include "launch/doctor/before_mpi.h"

#include <netdb.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "configs/text.h"

namespace dagpam::launch {
namespace {

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

// Whether one of the node's interfaces is meant by one of NCCL's words.
bool nccl_finds_one(const std::string& value, const std::vector<std::string>& have) {
  const bool exact = value.starts_with("=");
  for (const std::string& word : split_commas(exact ? value.substr(1) : value)) {
    const std::string name = word.substr(0, word.find(':'));
    for (const std::string& interface : have) {
      if (exact ? interface == name : interface.starts_with(name)) return true;
    }
  }
  return false;
}

Finding no_interface(const std::string& variable, const std::string& value,
                     const std::vector<std::string>& have) {
  return {Level::kError, "network.interface",
          variable + "='" + value + "' names an interface that this node lacks (it has " +
              configs::joined(have, ", ") + ")",
          "name one that every node has, or leave the variable unset", ExitCode::kBadConfig};
}

struct HostLine {
  std::string name;
  int slots = 1;
};

// "name", "name slots=4 max_slots=8", "name:4", comments; nothing of an empty line.
std::optional<HostLine> parse_host(const std::string& line) {
  std::istringstream in(line.substr(0, line.find('#')));
  HostLine host;
  if (!(in >> host.name)) return std::nullopt;
  std::string word;
  while (in >> word) {
    if (!word.starts_with("slots=")) continue;
    const char* const end = word.data() + word.size();
    if (std::from_chars(word.data() + 6, end, host.slots).ptr != end) host.slots = 0;
  }
  return host;
}

}  // namespace

Findings judge_interfaces(const Environment& get, const std::vector<std::string>& have) {
  Findings findings;
  const char* const nccl = get("NCCL_SOCKET_IFNAME");
  if (nccl != nullptr && *nccl != '\0' && *nccl != '^' && !nccl_finds_one(nccl, have)) {
    findings.push_back(no_interface("NCCL_SOCKET_IFNAME", nccl, have));
  }
  for (const char* variable : {"OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_oob_tcp_if_include"}) {
    const char* const value = get(variable);
    for (const std::string& word : split_commas(value == nullptr ? "" : value)) {
      const bool network = word.find('/') != std::string::npos ||
                           std::isdigit(static_cast<unsigned char>(word.front())) != 0;
      if (network || std::find(have.begin(), have.end(), word) != have.end()) continue;
      findings.push_back(no_interface(variable, word, have));
    }
  }
  return findings;
}

Findings judge_hostfile(const std::string& path, int ranks,
                        const std::function<bool(const std::string&)>& resolves) {
  Findings findings;
  std::ifstream file(path);
  if (!file) {
    return {{Level::kError, "hosts.file",
             "the hostfile '" + path + "' cannot be read (" + std::strerror(errno) + ")",
             "give the path of a file with a line 'NAME slots=RANKS' a node"}};
  }
  std::vector<std::string> unknown;
  int slots = 0, hosts = 0;
  for (std::string line; std::getline(file, line);) {
    const auto host = parse_host(line);
    if (!host) continue;
    ++hosts;
    slots += host->slots;
    if (!resolves(host->name)) unknown.push_back(host->name);
  }
  if (!unknown.empty()) {
    findings.push_back(
        {Level::kError, "hosts.unknown",
         "'" + path + "' names hosts that do not resolve: " + configs::joined(unknown, ", "),
         "mend the names, or /etc/hosts", ExitCode::kBadConfig});
  }
  if (hosts == 0 || (ranks > 0 && slots < ranks)) {
    findings.push_back({Level::kError, "hosts.slots",
                        "'" + path + "' has " + std::to_string(slots) + " slots on " +
                            std::to_string(hosts) + " hosts for " + std::to_string(ranks) +
                            " ranks",
                        "add hosts, or raise slots= to the ranks a node may have"});
  }
  return findings;
}

bool host_resolves(const std::string& name) {
  addrinfo* found = nullptr;
  if (getaddrinfo(name.c_str(), nullptr, nullptr, &found) != 0) return false;
  freeaddrinfo(found);
  return true;
}

}  // namespace dagpam::launch
