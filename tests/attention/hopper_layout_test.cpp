// The fused kernels' index maps against CuTe's (CUTLASS): accumulator and operand fragments of the
// warpgroup products, tiles in shared memory in either direction, what their descriptors say.
#include <cutlass/numeric_types.h>
#include <gtest/gtest.h>

#include <cute/atom/mma_traits_sm90_gmma.hpp>
#include <cute/tensor.hpp>

#include "attention/hopper/kernel_parts.h"

namespace dagpam::attention::hopper {
namespace {

namespace gmma = cute::SM90::GMMA;
using Number = cutlass::bfloat16_t;

// (thread, element) -> row + 64 column.
template <class Layout>
void expect_accumulator(const Layout& layout, int columns) {
  for (int thread = 0; thread < kWarpgroup; ++thread) {
    for (int i = 0; i < columns / 2; ++i) {
      EXPECT_EQ(static_cast<int>(layout(thread, i)),
                fragment_row(thread, i) + 64 * fragment_column(thread, i));
    }
  }
}

TEST(HopperLayoutTest, AccumulatorsLieAsCuteSays) {
  expect_accumulator(gmma::CLayout_64xN<32>{}, 32);
  expect_accumulator(gmma::CLayout_64xN<64>{}, 64);
  expect_accumulator(gmma::CLayout_64xN<128>{}, 128);
}

// Eight neighbouring accumulators are a fragment of 16 inner columns: element e of it, two to a
// register.
TEST(HopperLayoutTest, AccumulatorsAreOperandFragments) {
  const gmma::ALayout_64x16 layout{};
  for (int thread = 0; thread < kWarpgroup; ++thread) {
    for (int e = 0; e < 8; ++e) {
      EXPECT_EQ(static_cast<int>(layout(thread, e)),
                fragment_row(thread, e) + 64 * fragment_column(thread, e));
    }
  }
}

// A tile [rows][columns]: number (row, column) in blocks of 64 columns.
int ours(int rows, int row, int column) {
  const uint32_t bytes =
      static_cast<uint32_t>(column / kColumnBlock) * block_bytes(rows) + swizzled(row, column % 64);
  return static_cast<int>(bytes / 2);
}

template <int kRows, int kColumns>
void expect_tile() {
  const auto along_columns_layout = cute::as_position_independent_swizzle_layout(
      cute::tile_to_shape(gmma::Layout_K_SW128_Atom<Number>{},
                          cute::Shape<cute::Int<kRows>, cute::Int<kColumns>>{}));
  // Rows first, then blocks of columns.
  const auto along_rows_layout = cute::as_position_independent_swizzle_layout(cute::tile_to_shape(
      gmma::Layout_MN_SW128_Atom<Number>{}, cute::Shape<cute::Int<kColumns>, cute::Int<kRows>>{},
      cute::Step<cute::_2, cute::_1>{}));
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      ASSERT_EQ(static_cast<int>(along_columns_layout(row, column)), ours(kRows, row, column));
      ASSERT_EQ(static_cast<int>(along_rows_layout(column, row)), ours(kRows, row, column));
    }
  }
}

TEST(HopperLayoutTest, TilesLieAsCuteSays) {
  expect_tile<64, 64>();
  expect_tile<64, 128>();
  expect_tile<128, 64>();
  expect_tile<128, 128>();
}

// Where an operand's number lies by its descriptor's start and the canonical layout's strides,
// which CuTe gives in its own descriptor's fields.
cute::GmmaDescriptor whole(uint32_t low) {
  cute::GmmaDescriptor out;
  out.reg32_[0] = low;
  out.reg32_[1] = kDescriptorHigh;
  return out;
}

uint32_t place(const cute::GmmaDescriptor& d, bool along_the_rows, int line, int inner) {
  const uint32_t start = d.bitfield.start_address_ * 16U,
                 leading = d.bitfield.leading_byte_offset_ * 16U;
  const uint32_t stride = d.bitfield.stride_byte_offset_ * 16U;
  const auto l = static_cast<uint32_t>(line), i = static_cast<uint32_t>(inner);
  const uint32_t linear = along_the_rows
                              ? start + l / 64 * leading + l % 64 * 2 + i / 8 * stride + i % 8 * 128
                              : start + l / 8 * stride + l % 8 * 128 + i * 2;
  return cute::Swizzle<3, 4, 3>::apply(linear);
}

TEST(HopperLayoutTest, DescriptorsNameTheirTiles) {
  constexpr uint32_t kTile = 5 * 1024;
  for (const int rows : {64, 128}) {
    for (int step = 0; step < 8; ++step) {
      const auto columns = whole(along_columns(kTile, rows, 0, step));
      EXPECT_EQ(static_cast<int>(columns.bitfield.layout_type_),
                static_cast<int>(gmma::LayoutType::B128));
      EXPECT_EQ(static_cast<int>(columns.bitfield.base_offset_), 0);
      for (int line = 0; line < rows; ++line) {
        for (int inner = 0; inner < 16; ++inner) {
          const int offset = ours(rows, line, step * 16 + inner) * 2;
          EXPECT_EQ(place(columns, false, line, inner), kTile + static_cast<uint32_t>(offset));
        }
      }
    }
    for (int step = 0; step < rows / 16; ++step) {
      const auto by_rows = whole(along_rows(kTile, rows, 0, step));
      for (int line = 0; line < 128; ++line) {
        for (int inner = 0; inner < 16; ++inner) {
          const int offset = ours(rows, step * 16 + inner, line) * 2;
          EXPECT_EQ(place(by_rows, true, line, inner), kTile + static_cast<uint32_t>(offset));
        }
      }
    }
  }
}

}  // namespace
}  // namespace dagpam::attention::hopper
