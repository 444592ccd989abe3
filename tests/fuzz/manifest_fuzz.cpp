// MANIFEST.textproto, as it stands and with a digest line that is true.
#include "tests/fuzz/checkpoint_in_memory.h"
#include "trainer/checkpoint/report.h"

namespace dagpam::fuzz {
namespace {

using configs::Manifest;

bool parse(const std::string& text) {
  try {
    const Manifest manifest = checkpoint::parse_manifest(text, "MANIFEST.textproto");
    const Manifest again =
        checkpoint::parse_manifest(checkpoint::print_manifest(manifest), "MANIFEST.textproto");
    Manifest expected = manifest;
    expected.clear_digest();
    Manifest found = again;
    found.clear_digest();
    require(found.SerializeAsString() == expected.SerializeAsString(),
            "print and parse give the same manifest");
    require(!checkpoint::show(manifest).empty(), "a manifest can be shown");
    return true;
  } catch (const CheckpointError& error) {
    require_one_line(error);
    return false;
  }
}

}  // namespace

std::vector<Seed> seeds() {
  const std::string sealed = manifest_text();
  const std::string body = sealed.substr(0, sealed.rfind("digest: "));
  std::string nested;
  for (int i = 0; i < 3000; ++i) nested += "tensors{";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = body;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  return {{sealed, true},
          {body, true},
          {with("tokens_seen: 123456", "tokens_seen: -1"), false},
          {with("format_version: 1", "format_version: 2"), false},
          {with("shape: [10, 6]", "shape: [4294967296, 4294967296]"), false},
          {with("name: \"config.textproto\"", "name: \"../x\""), false},
          {with("lr: 0.1", "lr: nan"), false},
          {body + nested, false},
          {body + "colour: 7\n", false},
          {body + "step: 1\n", false},
          {std::string("\x80\x04\x95."), false},
          {"", false}};
}

bool run(std::string_view input) {
  const std::string text(input);
  const bool as_it_is = parse(text);
  return parse(checkpoint::testing::sealed(text)) || as_it_is;
}

}  // namespace dagpam::fuzz
