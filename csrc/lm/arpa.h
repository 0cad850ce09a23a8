// Reads a back-off n-gram model from the text of an ARPA file into an automaton with failure arcs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ctckit {

// As Automaton in ctckit/ops/automata.py; labels are numbers of words.
struct NgramModel {
  std::string words;  // in the order of the 1-grams, a line break behind each
  std::vector<int64_t> starts;
  std::vector<int32_t> labels, targets, failures;
  std::vector<float> weights, failure_weights, finals;
  std::vector<int64_t> counts;  // n-grams of each order
  int64_t initial = 0;
};

// Throws std::invalid_argument, with the number of the line, where the text is no model.
NgramModel parse_arpa(std::string_view text);

}  // namespace ctckit
