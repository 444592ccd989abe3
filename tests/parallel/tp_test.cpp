// Ranks as threads, at sizes that divide nothing too.
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>

#include "parallel/grid.h"
#include "parallel/random.h"
#include "parallel/tp_layers.h"
#include "tests/parallel/tp_cases.h"

namespace dagpam::parallel {
namespace {

TEST(TensorParallel, EveryCaseAtEverySize) {
  for (const int ranks : {1, 2, 3, 4, 8}) {
    run_ranks_as_threads(ranks, cases::all_tp_cases);
  }
}

TEST(TensorParallel, EmbeddingIsTheTablesRows) {
  for (const int ranks : {1, 2, 3, 4}) {
    run_ranks_as_threads(ranks, [ranks](Communicator& group) {
      const int64_t vocab = 10, width = 3, tokens = 12;  // 10 symbols: ranks of 3 and 4 pad
      ParameterList list(group.rank(), ranks), whole_list;
      const auto self = make_self_communicator();
      const VocabularyTable cut(vocab, width, 1, "table", list, group);
      const VocabularyTable whole(vocab, width, 1, "table", whole_list, *self);
      list.initialise(2);
      whole_list.initialise(2);
      at::Tensor ids = at::zeros({1, tokens}, at::kLong);
      for (int64_t i = 0; i < tokens; ++i) ids[0][i] = (7 * i) % vocab;
      const at::Tensor expected = whole.embed(ids, Stream::kWhole);
      EXPECT_TRUE(cut.embed(ids, Stream::kWhole).equal(expected));
      const int64_t own = tokens / ranks;
      if (ranks > 1) {
        EXPECT_TRUE(
            cut.embed(ids, Stream::kOwnTokens).equal(expected.narrow(1, group.rank() * own, own)));
      }
      // Padding has no logits and starts as 0.
      const at::Tensor logits = cut.logits(expected.detach());
      EXPECT_EQ(logits.size(2), cut.rows());
      const at::Tensor same = whole.logits(expected.detach()).narrow(2, cut.first(), cut.rows());
      EXPECT_LT(logits.sub(same).abs().max().item<double>(), 1e-6);
      const at::Tensor& held = list.all()[0]->value;
      EXPECT_EQ(held.size(0), (vocab + ranks - 1) / ranks);
      EXPECT_TRUE(held.narrow(0, cut.rows(), held.size(0) - cut.rows()).eq(0).all().item<bool>());
    });
  }
}

TEST(ParameterList, CutsAndRefuses) {
  ParameterList list(1, 2);
  const auto cut = list.add("cut", {4, 6}, Init::normal(1), {.cut_dim = 1});
  EXPECT_EQ(cut->value.sizes(), (at::IntArrayRef{4, 3}));
  EXPECT_EQ(cut->shard.offset, 3);
  EXPECT_EQ(list.count(), 24);
  EXPECT_THROW(list.add("odd", {5}, Init::normal(1), {.cut_dim = 0}), c10::Error);
  const auto padded = list.add("padded", {5}, Init::normal(1), {.cut_dim = 0, .may_pad = true});
  EXPECT_EQ(padded->value.size(0), 3);
  EXPECT_EQ(padded->shard.real_rows(3), 2);
  EXPECT_THROW(ParameterList(2, 2), c10::Error);
}

// Every rank of a grid reaches exactly its neighbours.
TEST(Grid, GroupsAreThoseOfTheTopology) {
  for (const auto& [ranks, tp] : std::map<int, int>{{1, 1}, {4, 2}, {6, 3}, {5, 1}, {8, 8}}) {
    run_ranks_as_threads(ranks, [tp = tp](Communicator& world) {
      const Grid grid = make_grid(world, tp);
      EXPECT_EQ(grid.dp->rank(), grid.topology.dp_index(world.rank()));
      EXPECT_EQ(grid.tp->rank(), grid.topology.tp_index(world.rank()));
      at::Tensor sum = at::zeros({1}, at::kLong);
      sum.fill_(world.rank());
      grid.tp->all_reduce(sum);
      int64_t expected = 0;
      for (const int rank : grid.topology.tp_group(world.rank())) expected += rank;
      EXPECT_EQ(sum.item<int64_t>(), expected);
      sum.fill_(world.rank());
      grid.dp->all_reduce(sum);
      expected = 0;
      for (const int rank : grid.topology.dp_group(world.rank())) expected += rank;
      EXPECT_EQ(sum.item<int64_t>(), expected);
    });
  }
}

TEST(Dropout, TokensKnowTheirPlace) {
  const at::Tensor x = at::zeros({2, 8, 6}).add(1), samples = at::zeros({2}, at::kLong);
  const at::Tensor whole = dropout(x, samples, 0.5, 9);
  const at::Tensor second = dropout(x.narrow(1, 0, 4).contiguous(), samples, 0.5, 9, 4);
  EXPECT_TRUE(second.equal(whole.narrow(1, 4, 4)));
}

}  // namespace
}  // namespace dagpam::parallel
