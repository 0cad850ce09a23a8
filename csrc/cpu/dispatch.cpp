// Picks one of the compiled instruction sets, once.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace ctckit {

#if defined(__x86_64__)
namespace avx512 {
extern const Kernels table;
}
namespace avx2 {
extern const Kernels table;
}
#endif
namespace generic {
extern const Kernels table;
}

namespace {

struct Candidate {
  const Kernels* table;
  bool runs;
};

const Kernels& choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const Candidate candidates[] = {
      {&avx512::table, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")},
      {&avx2::table, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
      {&generic::table, true},
  };
#else
  const Candidate candidates[] = {{&generic::table, true}};
#endif
  const char* forced = std::getenv("CTCKIT_ISA");
  for (const Candidate& candidate : candidates) {
    if (forced && *forced ? std::strcmp(forced, candidate.table->isa) == 0 : candidate.runs) {
      if (candidate.runs) return *candidate.table;
      throw std::runtime_error("CTCKIT_ISA: this machine has no " + std::string(forced));
    }
  }
  throw std::runtime_error("CTCKIT_ISA: '" + std::string(forced) + "' is not avx512, avx2 or generic");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace ctckit
