// What backend() reports, through plain C functions.
#include <cstddef>
#include <exception>
#include <string>

#include "../cpu/kernels.h"

#define CTCKIT_EXPORT extern "C" __attribute__((visibility("default")))

// The build searches a library's bytes for this before trusting it with newer sources.
CTCKIT_EXPORT const char* ctckit_sources() { return "ctckit-sources:" CTCKIT_SOURCES; }

// Which instruction set the CPU kernels use here; nullptr, with the reason in `why`, if CTCKIT_ISA cannot be obeyed.
CTCKIT_EXPORT const char* ctckit_isa(char* why, size_t size) {
  try {
    return ctckit::kernels().isa;
  } catch (const std::exception& error) {
    why[std::string(error.what()).copy(why, size - 1)] = '\0';
    return nullptr;
  }
}
