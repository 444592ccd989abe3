// data/peers.h: workers that prepare one data set together: ranks of a job, threads, or one alone.
//
// Knows no communicator: launch/ puts one behind it, and threads stand for ranks in
// data/thread_peers.h.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

namespace dagpam::data {

// All peers make the same calls in the same order.
class Peers {
 public:
  virtual ~Peers() = default;
  virtual int rank() const = 0;  // in [0, size)
  virtual int size() const = 0;
  // What each gives, by rank. None goes on before all have called.
  virtual std::vector<std::string> all_gather(const std::string& mine) = 0;
};

class Alone final : public Peers {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::string> all_gather(const std::string& mine) override { return {mine}; }
};

// Thrown by work that ends because a peer has failed: never the error that is told.
class PeerFailed : public std::exception {
 public:
  const char* what() const noexcept override { return "a peer has failed"; }
};

// Does `work` on every peer and returns what each gave, by rank. Where it threw on some, all throw
// the error of the lowest of them, of the same type (configs/errors.h); `failed`, where it is
// given, is called first on a peer whose work threw.
std::vector<std::string> together(Peers& peers, const std::function<std::string()>& work,
                                  const std::function<void()>& failed = {});

// Any strings as one, and back. DataError where `packed` is not of pack().
std::string pack(const std::vector<std::string>& strings);
std::vector<std::string> unpack(const std::string& packed);

}  // namespace dagpam::data
