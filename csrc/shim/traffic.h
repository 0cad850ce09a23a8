// What the launches since the last call moved, in order.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "shim.h"

namespace ctckit {
namespace shim {
std::vector<std::pair<std::string, Traffic>> take_log();
}
}  // namespace ctckit
