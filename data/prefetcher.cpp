#include "data/prefetcher.h"

#include <stdexcept>
#include <utility>

namespace dagpam::data {

Prefetcher::Prefetcher(BatchMaker maker, std::vector<std::string> digests, size_t ahead)
    : maker_(std::move(maker)),
      digests_(std::move(digests)),
      samples_per_epoch_(maker_.order().samples_per_epoch()),
      loader_(
          [this](Item& item) {
            maker_.make(item.batch);
            note_position(item);
          },
          ahead, before_first()) {}

DataPosition Prefetcher::position() const {
  const Item& current = loader_.current();
  if (!current.between_steps) {
    throw std::logic_error("the position in the data was asked for within a step");
  }
  return {current.next_sample, digests_, current.drawn, current.drawn_before_weights};
}

Prefetcher::Item Prefetcher::before_first() const {
  Item item;
  note_position(item);
  return item;
}

void Prefetcher::note_position(Item& item) const {
  item.between_steps = maker_.between_steps();
  item.next_sample = maker_.order().next_sample();
  if (!item.between_steps) return;
  item.drawn = maker_.order().drawn();
  item.drawn_before_weights = maker_.order().drawn_before_weights();
}

}  // namespace dagpam::data
