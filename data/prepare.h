// data/prepare.h: text files to a data set: `dagpam data prepare`.
#pragma once

#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "data/documents.h"
#include "data/peers.h"
#include "data/sidecar.h"

namespace dagpam::data {

struct PrepareOptions {
  std::vector<std::string> train;        // text files, at least one
  std::vector<std::string> valid, test;  // empty: no such split
  std::string tokenizer;                 // T of make_tokenizer
  std::string out;                       // PREFIX; its folder is made
  DocumentOptions documents = {};        // what a document is in all of them
  // The tokenizer's end_of_text behind every document (Megatron's --append-eod).
  bool append_eod = false;
  // A line every two seconds where it takes longer; null: quiet.
  std::ostream* progress = &std::cerr;
  std::function<bool()> give_up = {};  // asked at each MiB of text; true ends the call
};

// Writes PREFIX.{train,valid,test}.{bin,idx} (Megatron's indexed format, u16 below 65,500 symbols,
// else i32) and PREFIX.json; returns what that says, on every peer.
//
// All `peers` call, with the same options and give_up of their own, and see the same files: each
// encodes its share of the bytes of every split, and rank 0 joins what they made. The files are the
// same, byte by byte, for any number of peers.
//
// Everything is written under PREFIX.partial-PID-N.* in the same folder and renamed when all of it
// is durable, PREFIX.json last; files of an earlier data set of that name are replaced then, and
// removed where the new one has no such split. On any error nothing of that is left or changed, and
// every peer throws the same: ConfigError (unknown tokenizer, no train file, an output that is an
// input), DataError (a file that is missing, empty, not UTF-8, no JSON lines, or holds what the
// vocabulary lacks: file, byte, line, column, symbol), IoError (full disk, no such right) and
// Interrupted (give_up of any). Memory of a peer: the tokenizer, the ids of about 1 MiB of text, 12
// bytes a document, and pages of the mapped files, which the kernel may drop.
Sidecar prepare(const PrepareOptions& options, Peers& peers);
Sidecar prepare(const PrepareOptions& options);  // alone

}  // namespace dagpam::data
