// data/prepare.h: text files to a data set: `dagpam data prepare`.
#pragma once

#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "data/sidecar.h"

namespace dagpam::data {

struct PrepareOptions {
  std::vector<std::string> train;  // text files, at least one
  std::string valid, test;         // a text file each; empty: no such split
  std::string tokenizer;           // T of make_tokenizer
  std::string out;                 // PREFIX; its folder must exist
  // A line every two seconds where it takes longer; null: quiet.
  std::ostream* progress = &std::cerr;
  std::function<bool()> give_up = {};  // asked at each MiB of text; true ends the call
};

// Writes PREFIX.{train,valid,test}.{bin,idx} (Megatron's indexed format, u16 below 65,500 symbols,
// else i32) and PREFIX.json; returns what that says. Each text file is one document.
//
// Everything is written under PREFIX.partial-PID-N.* in the same folder and renamed when all of it
// is durable, PREFIX.json last; files of an earlier data set of that name are replaced then, and
// removed where the new one has no such split. On any error nothing of that is left or changed.
// Throws ConfigError (unknown tokenizer, no train file, an output that is an input), DataError (a
// file that is missing, empty, not UTF-8, or holds what the vocabulary lacks: file, byte, line,
// column, symbol), IoError (full disk, missing folder) and Interrupted (give_up). Memory: the
// tokenizer, the ids of about 1 MiB of text, and pages of the mapped files, which the kernel may
// drop.
Sidecar prepare(const PrepareOptions& options);

}  // namespace dagpam::data
