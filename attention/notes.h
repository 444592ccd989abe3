// attention/notes.h: what this folder's paths have to tell the user once: which kernel a shape got,
// or why it got a slower one. Whoever runs the model prints them.
#pragma once

#include <string>
#include <vector>

namespace dagpam::attention {

// Keeps the line unless it was said before in this process. Any thread.
void note(const std::string& line);

// Those said since the last call, in order.
std::vector<std::string> take_notes();

}  // namespace dagpam::attention
