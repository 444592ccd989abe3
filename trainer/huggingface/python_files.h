// trainer/huggingface/python_files.h: the files of python/, which stand in the program, so that an
// export needs nothing beside it. CMakeLists.txt here makes the .cpp file.
#pragma once

#include <vector>

#include "trainer/huggingface/text_file.h"

namespace dagpam::huggingface {

// configuration_dagpam.py, attention_dagpam.py, modeling_dagpam.py.
std::vector<TextFile> python_files();

}  // namespace dagpam::huggingface
