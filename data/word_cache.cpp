#include "data/word_cache.h"

#include <xxhash.h>

#include <algorithm>

namespace dagpam::data {
namespace {

// English text of 100 MB has some 400,000 different words, most of them once; 3 MB of slots.
constexpr size_t kSlots = size_t{1} << 17;

}  // namespace

WordCache::WordCache() : slots_(kSlots) {}

std::span<const int32_t> WordCache::find(std::string_view word, Place& place) const {
  place.hash = XXH3_64bits(word.data(), word.size());
  place.slot = place.hash & (kSlots - 1);
  while (slots_[place.slot].count != 0) {
    const Slot& slot = slots_[place.slot];
    if (slot.hash == place.hash && word == std::string_view(words_).substr(slot.word, slot.bytes)) {
      return std::span(ids_).subspan(slot.ids, slot.count);
    }
    place.slot = (place.slot + 1) & (kSlots - 1);
  }
  return {};
}

void WordCache::insert(const Place& place, std::string_view word, std::span<const int32_t> ids) {
  if (2 * (used_ + 1) > kSlots) {
    std::fill(slots_.begin(), slots_.end(), Slot{});
    words_.clear();
    ids_.clear();
    used_ = 0;
  }
  // After forgetting, the place may be further than needed: then the word is found missing later,
  // and kept twice.
  Slot& slot = slots_[place.slot];
  slot = {place.hash, static_cast<uint32_t>(words_.size()), static_cast<uint32_t>(ids_.size()),
          static_cast<uint16_t>(word.size()), static_cast<uint16_t>(ids.size())};
  words_ += word;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++used_;
}

}  // namespace dagpam::data
