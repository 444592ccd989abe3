// Boxes against element-by-element oracles, over random shapes and cuts.
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "trainer/checkpoint/boxes.h"

namespace dagpam::checkpoint {
namespace {

using Random = std::mt19937_64;

int64_t uniform(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

// Splits the box in two at a random place until `count` boxes are there or nothing can be split.
std::vector<Box> random_partition(Random& random, const Shape& global, size_t count) {
  std::vector<Box> boxes{{Shape(global.size(), 0), global}};
  for (int attempt = 0; attempt < 40 && boxes.size() < count && !global.empty(); ++attempt) {
    const size_t which =
        static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(boxes.size()) - 1));
    const size_t dim =
        static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(global.size()) - 1));
    Box left = boxes[which];
    if (left.shape[dim] < 2) continue;
    Box right = left;
    const int64_t at = uniform(random, 1, left.shape[dim] - 1);
    left.shape[dim] = at;
    right.start[dim] += at;
    right.shape[dim] -= at;
    boxes[which] = left;
    boxes.push_back(right);
  }
  return boxes;
}

Shape random_shape(Random& random) {
  Shape shape(static_cast<size_t>(uniform(random, 0, 4)));
  for (int64_t& n : shape) n = uniform(random, 1, 5);
  return shape;
}

TEST(CheckpointBoxes, ElementsAreCountedOrRefused) {
  EXPECT_EQ(elements({}), 1);
  EXPECT_EQ(elements({3, 4}), 12);
  EXPECT_EQ(elements({3, 0, 4}), 0);
  EXPECT_EQ(elements({INT64_MAX}), INT64_MAX);
  EXPECT_EQ(elements({-1}), std::nullopt);
  EXPECT_EQ(elements({INT64_MAX, 2}), std::nullopt);
  EXPECT_EQ(elements({int64_t{1} << 32, int64_t{1} << 32}), std::nullopt);  // 2^64 wraps to 0
  EXPECT_EQ(elements({int64_t{1} << 32, int64_t{1} << 32, 0}), std::nullopt);
}

TEST(CheckpointBoxes, PartitionsCoverAndEachFlawIsFound) {
  Random random(7);
  for (int round = 0; round < 500; ++round) {
    const Shape global = random_shape(random);
    std::vector<Box> boxes = random_partition(random, global, 6);
    EXPECT_EQ(cover_problem(global, boxes), "") << to_text(global);
    const size_t which =
        static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(boxes.size()) - 1));
    std::vector<Box> missing = boxes;
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(which));
    EXPECT_NE(cover_problem(global, missing), "");
    std::vector<Box> twice = boxes;
    twice.push_back(boxes[which]);
    EXPECT_NE(cover_problem(global, twice), "");
    // One box takes the place of another of the same volume: the volumes alone look right.
    for (size_t other = 0; other < boxes.size(); ++other) {
      if (other == which || boxes[other].shape != boxes[which].shape) continue;
      std::vector<Box> swapped = boxes;
      swapped[other] = swapped[which];
      EXPECT_NE(cover_problem(global, swapped), "");
    }
  }
}

TEST(CheckpointBoxes, EmptyTensorsNeedNoPieceAndEmptyPiecesDoNotCount) {
  EXPECT_EQ(cover_problem({0, 4}, {}), "");
  EXPECT_EQ(cover_problem({0, 4}, {{{0, 0}, {0, 4}}}), "");
  EXPECT_EQ(cover_problem({3}, {{{0}, {3}}, {{3}, {0}}, {{1}, {0}}}), "");
  EXPECT_NE(cover_problem({}, {}), "");  // a scalar has one element
}

TEST(CheckpointBoxes, RunsCopyAnyBoxOutOfAnyPartition) {
  Random random(11);
  for (int round = 0; round < 500; ++round) {
    const Shape global = random_shape(random);
    std::vector<Box> pieces = random_partition(random, global, 5);
    const Box wanted = random_partition(random, global, 3).back();
    // Each element of the global tensor has its own number.
    std::vector<int64_t> out(static_cast<size_t>(*elements(wanted.shape)), -1);
    const Box all{Shape(global.size(), 0), global};
    for (const Box& piece : pieces) {
      std::vector<int64_t> stored;
      for_each_run(piece, all, piece, [&](int64_t from, int64_t to, int64_t n) {
        EXPECT_EQ(to, static_cast<int64_t>(stored.size()));
        for (int64_t i = 0; i < n; ++i) stored.push_back(from + i);
      });
      ASSERT_EQ(static_cast<int64_t>(stored.size()), *elements(piece.shape));
      const std::optional<Box> common = intersection(piece, wanted);
      if (!common) continue;
      for_each_run(*common, piece, wanted, [&](int64_t from, int64_t to, int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
          int64_t& place = out.at(static_cast<size_t>(to + i));
          EXPECT_EQ(place, -1);
          place = stored.at(static_cast<size_t>(from + i));
        }
      });
    }
    std::vector<int64_t> expected;
    for (int64_t i = 0; i < *elements(global); ++i) {
      int64_t rest = i;
      bool inside = true;
      for (size_t d = global.size(); d-- > 0;) {
        const int64_t index = rest % global[d];
        rest /= global[d];
        inside &= index >= wanted.start[d] && index < wanted.start[d] + wanted.shape[d];
      }
      if (inside) expected.push_back(i);
    }
    EXPECT_EQ(out, expected) << to_text(wanted) << " of " << to_text(global);
  }
}

TEST(CheckpointBoxes, RunsAreAsLongAsTheyCanBe) {
  int runs = 0;
  const auto count = [&](int64_t, int64_t, int64_t) { ++runs; };
  const Box all{{0, 0, 0}, {4, 5, 6}};
  for_each_run({{1, 0, 0}, {2, 5, 6}}, all, {{1, 0, 0}, {2, 5, 6}}, count);
  EXPECT_EQ(runs, 1);
  runs = 0;
  for_each_run({{0, 1, 0}, {4, 3, 6}}, all, {{0, 1, 0}, {4, 3, 6}}, count);
  EXPECT_EQ(runs, 4);
}

TEST(CheckpointBoxes, SlicesStayInside) {
  EXPECT_EQ(slice_of({4, 6}, -1, 0, 0), (Box{{0, 0}, {4, 6}}));
  EXPECT_EQ(slice_of({4, 6}, 1, 2, 3), (Box{{0, 2}, {4, 3}}));
  EXPECT_EQ(slice_of({4, 6}, 1, 6, 0), (Box{{0, 6}, {4, 0}}));
  EXPECT_EQ(slice_of({4, 6}, 1, 4, 3), std::nullopt);
  EXPECT_EQ(slice_of({4, 6}, 1, -1, 3), std::nullopt);
  EXPECT_EQ(slice_of({4, 6}, 2, 0, 1), std::nullopt);
  EXPECT_EQ(slice_of({4, 6}, -2, 0, 1), std::nullopt);
  EXPECT_EQ(slice_of({4, 6}, 0, INT64_MAX, INT64_MAX), std::nullopt);
}

}  // namespace
}  // namespace dagpam::checkpoint
