// trainer/model/encoder_decoder.h: the encoder-decoder Transformer (Vaswani et al. 2017): an
// encoder that sees a whole source text, and a decoder that predicts the target text token by token
// and reads what the encoder gave. The attention of encoder, decoder and between them is chosen
// apart.
//
// Legend: B batch, S source tokens, N new target tokens, T context (the longest of either side), C
// width, H query heads, Hkv key-value heads, D = C / H, V vocabulary, which both sides share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/lambdas.h"
#include "trainer/model/block.h"
#include "trainer/model/model.h"

namespace dagpam::trainer {

class EncoderDecoder : public Model {
 public:
  // As make_model() says.
  EncoderDecoder(const configs::RunConfig& config, const TensorParallel& tp,
                 at::ScalarType type = at::kFloat);
  ~EncoderDecoder() override;

  void move_to(at::Device device) override;

  // What the decoder reads of a batch of source texts.
  struct Memory {
    std::vector<KeysValues> layers;  // by decoder layer, [B, S, Hkv, D]
    at::Tensor source_lengths;       // [B] int32

    // Rows `rows` [R] int64 of the batch, each as often as it is named.
    Memory rows(const at::Tensor& rows) const;
  };

  // [B, S, C] behind the encoder's last norm; alike on all ranks. Reads input.source,
  // source_lengths, samples, dropout and recompute.
  at::Tensor encode(const ForwardInput& input) const;
  Memory remember(const at::Tensor& encoded, const at::Tensor& source_lengths) const;

  // [B, N, C], ready for logits(), for the tokens [B, N] behind those that `caches` (make_caches())
  // hold. Without gradients.
  at::Tensor decode(const at::Tensor& tokens, const Memory& memory,
                    std::vector<attention::KeyValueCache>& caches) const;
  at::Tensor logits(const at::Tensor& hidden) const;  // [B, N, C] -> [B, N, V], this rank's of V

  // Of the target tokens; targets that are no tokens (-100) cost 0.
  at::Tensor losses(const ForwardInput& input, const at::Tensor& targets, int64_t first = 0,
                    double smoothing = 0) const override;

  std::vector<attention::KeyValueCache> make_caches() const {
    return std::vector<attention::KeyValueCache>(decoder_.size());
  }

 private:
  // A stack's own parts.
  struct Side {
    std::unique_ptr<parallel::VocabularyTable> embedding;  // none where it is the encoder's
    parallel::ParameterPtr positions;                      // [T, C], LEARNED
    std::unique_ptr<Norm> norm;                            // PRE
    int64_t dropout_layer = 0;                             // of the embedding
  };

  void add_side(const std::string& prefix, bool own_embedding, Side& side);
  std::unique_ptr<attention::LambdaBank> make_lambdas(const configs::AttentionConfig& attention,
                                                      int64_t layers,
                                                      const attention::LambdaNames& names);
  at::Tensor embed(const Side& side, const at::Tensor& tokens, int64_t past,
                   const BlockContext& context) const;
  BlockContext context_of(const ForwardInput& input) const;
  at::Tensor decode(const at::Tensor& tokens, const at::Tensor& source_lengths,
                    const BlockContext& context, configs::TrainConfig::Recompute recompute,
                    std::vector<attention::KeyValueCache>* caches, const at::Tensor& memory,
                    const std::vector<KeysValues>* projected) const;
  const parallel::VocabularyTable& output() const;

  Side source_, target_;
  at::Tensor sinusoids_;      // [T, C], SINUSOIDAL
  attention::Rotary rotary_;  // [T, D / 2], ROTARY
  std::unique_ptr<attention::LambdaBank> encoder_lambdas_, lambdas_, cross_lambdas_;
  std::vector<std::unique_ptr<Block>> encoder_, decoder_;
  std::unique_ptr<parallel::VocabularyTable> output_;  // [V, C], untied
};

}  // namespace dagpam::trainer
