// parallel/column_tiles.h: how a GPU's threads share a matrix [R, C] where each keeps to its
// columns, so that it reads what belongs to them once and can add up over rows. For kernels, and
// for host tests that do what all the threads would.
//
// A block is kTileGroups rows of kTileLanes threads. Its lanes are neighbours of a row, a pack of
// columns each; its groups, and the parts that the rows are dealt to, take rows in turn.
#pragma once

#include <cstdint>

#include "parallel/row_pack.h"

namespace dagpam::parallel {

constexpr int kTileLanes = 32, kTileGroups = 8;

struct ColumnTiles {
  int pack = 1;        // columns of a thread
  int64_t across = 1;  // blocks side by side
  int64_t parts = 1;   // blocks that share the same columns
};

// Of the shape alone, so that sums are of the same terms in the same order on every device.
inline ColumnTiles column_tiles(int64_t rows, int64_t width, int pack) {
  constexpr int64_t kRowsOfAThread = 8;  // at least, where there are as many
  constexpr int64_t kBlocks = 2112;      // about: more than any GPU runs at once
  const auto parts_of = [](int64_t whole, int64_t part) { return (whole + part - 1) / part; };
  ColumnTiles tiles;
  tiles.pack = pack;
  tiles.across = parts_of(width, int64_t{kTileLanes} * pack);
  const int64_t useful = parts_of(rows, kTileGroups * kRowsOfAThread);
  const int64_t most = parts_of(kBlocks, tiles.across < 1 ? 1 : tiles.across);
  tiles.parts = useful < most ? useful : most;
  if (tiles.parts < 1) tiles.parts = 1;
  return tiles;
}

// Rows first, first + step, ... and columns column to column + pack - 1 of a thread.
struct TileThread {
  int64_t column, first, step;
};

DAGPAM_ROW_FUNCTION TileThread tile_thread(const ColumnTiles& tiles, int64_t block_across,
                                           int64_t part, int lane, int group) {
  return {(block_across * kTileLanes + lane) * tiles.pack, part * kTileGroups + group,
          tiles.parts * kTileGroups};
}

}  // namespace dagpam::parallel
