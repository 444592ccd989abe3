// trainer/checkpoint/records.h: from what the ranks say about their shards to one manifest.
#pragma once

#include <string>
#include <vector>

#include "configs/manifest.pb.h"
#include "trainer/checkpoint/blocks.h"

namespace dagpam::checkpoint {

configs::Manifest::File describe(const std::string& name, const WrittenFile& written);

// Adds the shards of `records` (serialised ShardRecords in rank order) and their tensors, in the
// order in which they first appear. Throws CheckpointError where a record is not of this step and
// run, or ranks disagree on a tensor. Cover is left to check_manifest.
void add_shards(const std::vector<std::string>& records, configs::Manifest& manifest);

}  // namespace dagpam::checkpoint
