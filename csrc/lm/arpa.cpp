// Every listed n-gram is a node of a trie; what contexts the file leaves out is added, with the probability that the
// model gives it. States are the nodes that anything follows, or whose back-off weight says something.
#include "arpa.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace ctckit {
namespace {

constexpr double kNatsOfLog10 = 2.302585092994045684;
// What stands for a probability of zero, as in KenLM: automata hold finite weights.
constexpr double kLogZero = -100.0;
constexpr int kMostOrders = 16;

// Numbers under keys that are no UINT64_MAX.
class Table {
 public:
  explicit Table(size_t room) {
    size_t size = 16;
    while (size < room + room / 2) size *= 2;
    entries_.assign(size, {kNone, 0});
  }
  // The number under a key, or -1.
  int32_t find(uint64_t key) const {
    for (size_t at = place(key);; at = (at + 1) & (entries_.size() - 1)) {
      if (entries_[at].key == key) return entries_[at].value;
      if (entries_[at].key == kNone) return -1;
    }
  }
  void insert(uint64_t key, int32_t value) {
    if (++count_ > entries_.size() / 4 * 3) grow();
    put(key, value);
  }

 private:
  struct Entry {
    uint64_t key;
    int32_t value;
  };
  static constexpr uint64_t kNone = ~uint64_t{0};

  size_t place(uint64_t key) const {
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    return (key ^ key >> 29) & (entries_.size() - 1);
  }
  void put(uint64_t key, int32_t value) {
    size_t at = place(key);
    while (entries_[at].key != kNone) at = (at + 1) & (entries_.size() - 1);
    entries_[at] = {key, value};
  }
  void grow() {
    std::vector<Entry> old(2 * entries_.size(), {kNone, 0});
    old.swap(entries_);
    for (const Entry& entry : old) {
      if (entry.key != kNone) put(entry.key, entry.value);
    }
  }

  std::vector<Entry> entries_;
  size_t count_ = 0;
};

// Numbers of words, by their bytes.
class Words {
 public:
  int32_t find(std::string_view word) const {
    for (int32_t at = heads_[hash(word) & (heads_.size() - 1)]; at >= 0; at = next_[static_cast<size_t>(at)]) {
      if (words_[static_cast<size_t>(at)] == word) return at;
    }
    return -1;
  }
  void add(std::string_view word) {
    if (words_.size() >= heads_.size()) grow();
    const size_t slot = hash(word) & (heads_.size() - 1);
    next_.push_back(heads_[slot]);
    heads_[slot] = static_cast<int32_t>(words_.size());
    words_.push_back(word);
  }
  const std::vector<std::string_view>& all() const { return words_; }

 private:
  static uint64_t hash(std::string_view word) {
    uint64_t h = 0xcbf29ce484222325u;
    for (const char c : word) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return h ^ h >> 29;
  }
  void grow() {
    heads_.assign(2 * heads_.size(), -1);
    for (size_t i = 0; i < words_.size(); ++i) {
      const size_t slot = hash(words_[i]) & (heads_.size() - 1);
      next_[i] = heads_[slot];
      heads_[slot] = static_cast<int32_t>(i);
    }
  }

  std::vector<std::string_view> words_;
  std::vector<int32_t> heads_ = std::vector<int32_t>(1024, -1), next_;
};

// Lines without their ends, and where they are.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    const size_t end = rest_.find('\n');
    line = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    while (!line.empty() && space(line.back())) line.remove_suffix(1);
    while (!line.empty() && space(line.front())) line.remove_prefix(1);
    ++number_;
    return true;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw std::invalid_argument("line " + std::to_string(number_) + ": " + what);
  }
  static bool space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

 private:
  std::string_view rest_;
  int64_t number_ = 0;
};

// Where text stops to be UTF-8; its size if it does not.
size_t utf8_prefix(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(at);
    if (first < 0x80) {
      ++at;
      continue;
    }
    const size_t more = first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
    if (more == 0 || text.size() - at <= more) return at;
    for (size_t i = 1; i <= more; ++i) {
      if ((byte(at + i) & 0xc0) != 0x80) return at;
    }
    const unsigned char second = byte(at + 1);  // no overlong forms, no surrogates, nothing beyond U+10FFFF
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second >= 0x90)) {
      return at;
    }
    at += more + 1;
  }
  return text.size();
}

std::string quoted(std::string_view text) {
  const std::string_view shown = text.substr(0, 60);
  return "'" + std::string(shown.substr(0, utf8_prefix(shown))) + (text.size() > 60 ? "...'" : "'");
}

// The next field of a line, or nothing.
std::string_view field(std::string_view& line) {
  size_t begin = 0;
  while (begin < line.size() && Lines::space(line[begin])) ++begin;
  size_t end = begin;
  while (end < line.size() && !Lines::space(line[end])) ++end;
  const std::string_view found = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return found;
}

double power_of_ten(int exponent) {
  static const double small[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  if (exponent >= 0 && exponent <= 22) return small[exponent];
  if (exponent < 0 && exponent >= -22) return 1.0 / small[-exponent];
  return std::pow(10.0, exponent);
}

// A decimal number, to the last place or two of a double; false where it is none. No locale has a say.
bool parse_number(std::string_view text, double& value) {
  size_t at = 0;
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) at = 1;
  if (text.substr(at) == "inf" || text.substr(at) == "Inf" || text.substr(at) == "INF") {
    value = negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
    return true;
  }
  uint64_t digits = 0;
  int exponent = 0;
  bool any = false, point = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '.' && !point) {
      point = true;
    } else if (c >= '0' && c <= '9') {
      any = true;
      if (digits < 100000000000000000u) {
        digits = 10 * digits + static_cast<uint64_t>(c - '0');
        exponent -= point;
      } else {
        exponent += !point;
      }
    } else {
      break;
    }
  }
  if (!any) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    const bool down = at < text.size() && text[at] == '-';
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (at == text.size()) return false;
    int given = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      given = std::min(given * 10 + (text[at] - '0'), 10000);
    }
    exponent += down ? -given : given;
  }
  if (at != text.size()) return false;
  value = static_cast<double>(digits) * power_of_ten(exponent);
  if (negative) value = -value;
  return true;
}

struct Node {
  double weight;   // log probability of the n-gram, nats; NaN where the file does not list it
  double backoff;  // nats
  int32_t parent, word, link;
  int32_t children;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : lines_(text), most_(text.size() / 4) {}

  NgramModel read() {
    header();
    for (int order = 1; order <= static_cast<int>(counts_.size()); ++order) section(order);
    ending();
    link();
    return automaton();
  }

 private:
  void header() {
    std::string_view line;
    bool more = true;
    while ((more = lines_.next(line)) && line != "\\data\\") {
    }
    if (!more) lines_.refuse("no \\data\\ anywhere: this is no ARPA file");
    while (lines_.next(line)) {
      if (line.empty()) continue;
      if (line.substr(0, 6) != "ngram ") break;
      std::string_view rest = line.substr(6);
      const size_t equals = rest.find('=');
      int64_t order = 0, count = 0;
      if (equals == std::string_view::npos || !whole(rest.substr(0, equals), order) ||
          !whole(rest.substr(equals + 1), count)) {
        lines_.refuse("expected 'ngram ORDER=COUNT', found " + quoted(line));
      }
      if (order != static_cast<int64_t>(counts_.size()) + 1) {
        lines_.refuse("orders are listed as 1, 2, ...; found " + std::to_string(order));
      }
      if (order > kMostOrders) lines_.refuse("orders above " + std::to_string(kMostOrders) + " are not read");
      counts_.push_back(count);
    }
    if (counts_.empty()) lines_.refuse("no 'ngram 1=COUNT' after \\data\\");
    pending_ = line;
    // room for what is announced, but never for more than the text can hold: a line has four bytes at least
    size_t announced = 1;
    for (const int64_t count : counts_) announced += std::min(static_cast<size_t>(count), most_);
    announced = std::min(announced, most_);
    nodes_.reserve(announced);
    nodes_of_ = Table(announced);
    nodes_.push_back({0.0, 0.0, -1, -1, -1, 0});
  }

  static bool whole(std::string_view text, int64_t& value) {
    while (!text.empty() && Lines::space(text.front())) text.remove_prefix(1);
    while (!text.empty() && Lines::space(text.back())) text.remove_suffix(1);
    if (text.empty() || text.size() > 12) return false;
    value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      value = 10 * value + (c - '0');
    }
    return true;
  }

  void section(int order) {
    const std::string title = "\\" + std::to_string(order) + "-grams:";
    std::string_view line = pending_;
    while (line.empty() && lines_.next(line)) {
    }
    if (line != title) lines_.refuse("expected " + title + ", found " + (line.empty() ? "the end" : quoted(line)));
    pending_ = {};
    int64_t seen = 0;
    while (lines_.next(line)) {
      if (line.empty()) continue;
      if (line.front() == '\\') {
        pending_ = line;
        break;
      }
      ++seen;
      ngram(line, order);
    }
    const int64_t wanted = counts_[static_cast<size_t>(order) - 1];
    if (seen != wanted) {
      lines_.refuse("\\data\\ announces " + std::to_string(wanted) + " " + std::to_string(order) + "-grams, there are " +
                    std::to_string(seen) + "; the file is cut off or damaged");
    }
  }

  void ngram(std::string_view line, int order) {
    const std::string_view whole_line = line;
    double weight = 0.0;
    const std::string_view first = field(line);
    if (!parse_number(first, weight)) lines_.refuse(quoted(first) + " is no log probability");
    if (!(weight <= 1e-6)) lines_.refuse(quoted(first) + " is a log probability above 0");
    int32_t node = 0;
    for (int place = 1; place <= order; ++place) {
      const std::string_view word = field(line);
      if (word.empty()) {
        lines_.refuse("expected " + std::to_string(order) + " words, found " + std::to_string(place - 1) + " in " +
                      quoted(whole_line));
      }
      node = step(node, word, order);
    }
    if (!std::isnan(nodes_[static_cast<size_t>(node)].weight)) lines_.refuse("is listed twice: " + quoted(whole_line));
    double backoff = 0.0;
    const std::string_view last = field(line);
    if (!last.empty() && !parse_number(last, backoff)) lines_.refuse(quoted(last) + " is no back-off weight");
    if (!field(line).empty()) lines_.refuse("more than " + std::to_string(order) + " words in " + quoted(whole_line));
    if (std::isinf(backoff) && backoff > 0) lines_.refuse(quoted(last) + " is no back-off weight");
    if (order == static_cast<int>(counts_.size()) && backoff != 0.0) {
      lines_.refuse("a back-off weight at the highest order, or more than " + std::to_string(order) + " words in " +
                    quoted(whole_line));
    }
    nodes_[static_cast<size_t>(node)].weight = kNatsOfLog10 * std::max(weight, kLogZero);
    nodes_[static_cast<size_t>(node)].backoff = kNatsOfLog10 * std::max(backoff, kLogZero);
  }

  // The node behind a word; it is made where the file has not listed it before.
  int32_t step(int32_t node, std::string_view word, int order) {
    int32_t number = words_.find(word);
    if (number < 0) {
      if (order > 1) lines_.refuse(quoted(word) + " is not among the 1-grams");
      number = static_cast<int32_t>(words_.all().size());
      words_.add(word);
    }
    const uint64_t key = static_cast<uint64_t>(node) << 32 | static_cast<uint32_t>(number);
    int32_t child = nodes_of_.find(key);
    if (child < 0) {
      if (nodes_.size() >= 0x7fffffffu) lines_.refuse("more n-grams than can be numbered");
      child = static_cast<int32_t>(nodes_.size());
      nodes_of_.insert(key, child);
      nodes_.push_back({std::numeric_limits<double>::quiet_NaN(), 0.0, node, number, -1, 0});
      ++nodes_[static_cast<size_t>(node)].children;
    }
    return child;
  }

  void ending() {
    if (pending_ != "\\end\\") {
      lines_.refuse(pending_.empty() ? std::string("the file ends before \\end\\: it is cut off")
                                     : "expected \\end\\, found " + quoted(pending_));
    }
    std::string_view line;
    while (lines_.next(line)) {
      if (!line.empty()) lines_.refuse("there is more after \\end\\: " + quoted(line));
    }
  }

  int32_t child(int32_t node, int32_t word) const {
    return nodes_of_.find(static_cast<uint64_t>(node) << 32 | static_cast<uint32_t>(word));
  }

  // Links each node to the longest shorter history that there is; gives what is not listed its probability.
  void link() {
    by_depth_.resize(nodes_.size());
    std::vector<int32_t> depth(nodes_.size(), 0);
    std::vector<int64_t> starts(kMostOrders + 2, 0);
    for (size_t i = 1; i < nodes_.size(); ++i) {  // a parent comes before its children
      depth[i] = depth[static_cast<size_t>(nodes_[i].parent)] + 1;
      ++starts[static_cast<size_t>(depth[i]) + 1];
    }
    ++starts[1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    for (size_t i = 0; i < nodes_.size(); ++i) {
      by_depth_[static_cast<size_t>(starts[static_cast<size_t>(depth[i])]++)] = static_cast<int32_t>(i);
    }
    for (const int32_t i : by_depth_) {
      Node& node = nodes_[static_cast<size_t>(i)];
      if (i == 0) continue;
      node.link = 0;
      double skipped = nodes_[static_cast<size_t>(node.parent)].backoff;
      double weight = kNatsOfLog10 * kLogZero;
      for (int32_t at = nodes_[static_cast<size_t>(node.parent)].link; at >= 0;
           at = nodes_[static_cast<size_t>(at)].link) {
        const int32_t shorter = child(at, node.word);
        if (shorter >= 0) {
          node.link = shorter;
          weight = nodes_[static_cast<size_t>(shorter)].weight;
          break;
        }
        skipped += nodes_[static_cast<size_t>(at)].backoff;
      }
      if (std::isnan(node.weight)) node.weight = skipped + weight;
    }
  }

  NgramModel automaton() {
    NgramModel model;
    model.counts = counts_;
    for (const std::string_view word : words_.all()) model.words.append(word).push_back('\n');
    const int32_t begin = words_.find("<s>"), end = words_.find("</s>");
    std::vector<int32_t> state(nodes_.size(), -1);
    std::vector<int32_t> histories;
    for (const int32_t i : by_depth_) {
      const Node& node = nodes_[static_cast<size_t>(i)];
      if (i != 0 && node.word == end) continue;  // nothing is said after the end
      if (i == 0 || node.children > 0 || node.backoff != 0.0) {
        state[static_cast<size_t>(i)] = static_cast<int32_t>(histories.size());
        histories.push_back(i);
      }
    }
    // a node that is no state passes on to its link, at no cost
    for (const int32_t i : by_depth_) {
      int32_t& own = state[static_cast<size_t>(i)];
      if (own < 0) own = state[static_cast<size_t>(nodes_[static_cast<size_t>(i)].link)];
    }
    const size_t states = histories.size();
    model.starts.assign(states + 1, 0);
    std::vector<int32_t> arcs;
    std::vector<double> ends(states, std::numeric_limits<double>::quiet_NaN());
    for (const int32_t i : by_depth_) {
      const Node& node = nodes_[static_cast<size_t>(i)];
      if (i == 0 || node.word == begin) continue;
      // children of what is no state there are none
      const size_t from = static_cast<size_t>(state[static_cast<size_t>(node.parent)]);
      if (histories[from] != node.parent) continue;  // what follows the end
      if (node.word == end) {
        ends[from] = node.weight;
        continue;
      }
      ++model.starts[from + 1];
      arcs.push_back(i);
    }
    std::partial_sum(model.starts.begin(), model.starts.end(), model.starts.begin());
    std::vector<int64_t> next(model.starts.begin(), model.starts.end() - 1);
    std::vector<int32_t> sorted(arcs.size());
    model.labels.reserve(arcs.size());
    model.targets.reserve(arcs.size());
    model.weights.reserve(arcs.size());
    for (const int32_t i : arcs) {
      const size_t from = static_cast<size_t>(state[static_cast<size_t>(nodes_[static_cast<size_t>(i)].parent)]);
      sorted[static_cast<size_t>(next[from]++)] = i;
    }
    for (size_t s = 0; s < states; ++s) {
      std::sort(sorted.begin() + model.starts[s], sorted.begin() + model.starts[s + 1],
                [&](int32_t a, int32_t b) {
                  return nodes_[static_cast<size_t>(a)].word < nodes_[static_cast<size_t>(b)].word;
                });
    }
    for (const int32_t i : sorted) {
      const Node& node = nodes_[static_cast<size_t>(i)];
      model.labels.push_back(node.word);
      model.targets.push_back(state[static_cast<size_t>(i)]);
      model.weights.push_back(static_cast<float>(node.weight));
    }
    std::vector<double> finals(states);
    for (size_t s = 0; s < states; ++s) {
      const Node& node = nodes_[static_cast<size_t>(histories[s])];
      const int32_t shorter = s == 0 ? -1 : state[static_cast<size_t>(node.link)];
      model.failures.push_back(shorter);
      model.failure_weights.push_back(static_cast<float>(s == 0 ? 0.0 : node.backoff));
      // shorter histories have lower numbers; a model without an end lets every sentence end
      const double otherwise = s == 0 ? (end < 0 ? 0.0 : kNatsOfLog10 * kLogZero)
                                      : node.backoff + finals[static_cast<size_t>(shorter)];
      finals[s] = end < 0 ? 0.0 : std::isnan(ends[s]) ? otherwise : ends[s];
      model.finals.push_back(static_cast<float>(finals[s]));
    }
    const int32_t first = begin < 0 ? -1 : child(0, begin);
    model.initial = first < 0 ? 0 : state[static_cast<size_t>(first)];
    return model;
  }

  Lines lines_;
  size_t most_;
  std::string_view pending_;
  std::vector<int64_t> counts_;
  Words words_;
  Table nodes_of_{0};
  std::vector<Node> nodes_;
  std::vector<int32_t> by_depth_;
};

}  // namespace

NgramModel parse_arpa(std::string_view text) {
  const size_t valid = utf8_prefix(text);
  if (valid < text.size()) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(valid), '\n');
    throw std::invalid_argument("line " + std::to_string(line) + ": is no UTF-8");
  }
  return Reader(text).read();
}

}  // namespace ctckit
