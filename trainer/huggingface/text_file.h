// trainer/huggingface/text_file.h: a file of an exported folder.
#pragma once

#include <string>

namespace dagpam::huggingface {

struct TextFile {
  std::string name, text;
};

}  // namespace dagpam::huggingface
