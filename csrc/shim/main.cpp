// Runs problems that the test suite wrote to folders: `shim FOLDER...`. A folder holds problem.txt (a name and a
// value a line) and arrays as raw bytes; the results go beside them, and traffic.txt says what each launch moved.
// Arrays live in allocations of exactly their size.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "../cuda/launch.h"
#include "traffic.h"

namespace {

using ctckit::AlignmentOutput;
using ctckit::PathOutput;
using ctckit::Shape;
using ctckit::StatsOutput;
using ctckit::Targets;
using ctckit::Type;
using ctckit::View;

class Folder {
 public:
  explicit Folder(const std::string& path) : path_(path) {
    std::ifstream file(path + "/problem.txt");
    for (std::string name, value; file >> name >> value;) values_[name] = value;
  }

  std::string text(const std::string& name) const { return values_.at(name); }
  int64_t integer(const std::string& name) const { return std::stoll(values_.at(name)); }
  double number(const std::string& name) const { return std::stod(values_.at(name)); }

  void* input(const std::string& name) {
    std::ifstream file(path_ + "/" + name + ".bin", std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    const std::string data = bytes.str();
    void* memory = make(data.size());
    memcpy(memory, data.data(), data.size());
    return memory;
  }
  // Poisoned, so that what no kernel wrote shows; written back at the end.
  void* output(const std::string& name, int64_t bytes) {
    void* memory = make(static_cast<size_t>(bytes));
    memset(memory, 0xcd, static_cast<size_t>(bytes));
    outputs_[name] = {memory, bytes};
    return memory;
  }
  void* scratch(int64_t bytes) {
    void* memory = make(static_cast<size_t>(bytes));
    memset(memory, 0xff, static_cast<size_t>(bytes));
    return memory;
  }
  // The logits, their shape and their offset from a 16-byte boundary as the problem has them.
  View view(const std::string& prefix, void* data) const {
    const auto type = static_cast<Type>(integer("type"));
    const int64_t size = type == Type::kFloat64 ? 8 : type == Type::kFloat32 ? 4 : 2;
    return {static_cast<char*>(data) + integer(prefix + "offset") * size, type, integer(prefix + "stride_t"),
            integer(prefix + "stride_b"), integer(prefix + "stride_c")};
  }
  void write() const {
    for (const auto& [name, output] : outputs_) {
      std::ofstream(path_ + "/" + name + ".out", std::ios::binary)
          .write(static_cast<const char*>(output.first), output.second);
    }
    std::ofstream file(path_ + "/traffic.txt");
    for (const auto& [name, traffic] : ctckit::shim::take_log()) {
      file << name << ' ' << traffic.sector_bytes << ' ' << traffic.lane_bytes << ' ' << traffic.vector_loads << ' '
           << traffic.scalar_loads << ' ' << traffic.exponentials << '\n';
    }
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  void* make(size_t bytes) {
    // 64-byte alignment as cudaMalloc gives (and more); the size is exact, for the sanitizer.
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, bytes ? bytes : 1) != 0) std::abort();
    owned_.emplace_back(memory);
    return memory;
  }

  std::string path_;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::pair<void*, int64_t>> outputs_;
  std::vector<std::unique_ptr<void, Free>> owned_;
};

void solve(Folder& folder) {
  ctckit::shim::set_seed(static_cast<uint64_t>(folder.integer("seed")));
  const std::string op = folder.text("op");
  const Shape shape{folder.integer("T"), folder.integer("B"), folder.integer("C")};
  const int64_t S = folder.integer("S"), frames = shape.T * shape.B;
  const int64_t R = static_cast<Type>(folder.integer("type")) == Type::kFloat64 ? 8 : 4;
  const double shift = folder.number("shift");
  const View logits = folder.view("logits_", folder.input("logits"));
  const auto* lengths = static_cast<const int64_t*>(folder.input("lengths"));
  const Targets targets{static_cast<const int64_t*>(folder.input("targets")),
                        static_cast<const int64_t*>(folder.input("target_lengths")), S};
  auto* fault = static_cast<unsigned long long*>(folder.output("fault", 8));
  *fault = ctckit::cuda::kNoFault;
  const auto integers = [&](const char* name, int64_t count) {
    return static_cast<int64_t*>(folder.output(name, 8 * count));
  };

  StatsOutput stats{};
  if (op == "frame_stats" || op == "sweep" || op == "greedy_with_stats") {
    stats = {integers("best", frames), folder.output("best_logit", R * frames), folder.output("logsumexp", R * frames),
             folder.output("blank_logit", R * frames),
             op == "greedy_with_stats" ? folder.output("entropy", R * frames) : nullptr};
  }
  if (op == "frame_stats" || op == "sweep") {
    ctckit::cuda::frame_stats(logits, shape, lengths, stats, fault, nullptr);
    if (op == "sweep") {
      const int64_t K = folder.integer("K");
      ctckit::cuda::sweep(shape, R == 8, stats.best, stats.best_logit, stats.blank_logit, lengths,
                          static_cast<const double*>(folder.input("shifts")), K, integers("tokens", K * frames),
                          integers("counts", K * shape.B), fault, nullptr);
    }
  } else if (op == "greedy" || op == "greedy_with_stats" || op == "log_softmax") {
    const PathOutput path{integers("tokens", frames),          integers("counts", shape.B),
                          integers("starts", frames),          integers("ends", frames),
                          folder.output("scores", R * frames), folder.output("utterance_scores", R * shape.B)};
    View log_probs{};
    if (op == "log_softmax") log_probs = folder.view("out_", folder.output("out", folder.integer("out_bytes")));
    ctckit::cuda::log_softmax(logits, shape, lengths, shift, log_probs,
                              folder.scratch(ctckit::cuda::path_scratch_bytes(logits.type, shape)), path, stats,
                              fault, nullptr);
  } else if (op == "log_softmax_backward") {
    const View grad = folder.view("grad_", folder.input("grad"));
    const View out = folder.view("out_", folder.output("out", folder.integer("out_bytes")));
    ctckit::cuda::log_softmax_backward(grad, logits, shape, out, nullptr);
  } else if (op == "ctc_loss") {
    const bool path_domain = folder.integer("path_domain") != 0, with_gradient = folder.integer("with_gradient") != 0;
    void* losses = folder.output("losses", R * shape.B);
    void* norms = folder.output("norms", R * 2 * frames);
    void* occupancy = with_gradient ? folder.output("occupancy", R * frames * (S + 1)) : nullptr;
    void* scratch = folder.scratch(ctckit::cuda::ctc_scratch_bytes(logits.type, shape, S, with_gradient));
    ctckit::cuda::ctc_loss(logits, shape, lengths, targets, shift, path_domain, losses, norms, with_gradient,
                           occupancy, scratch, fault, nullptr);
    if (with_gradient) {
      const View grad = folder.view("out_", folder.output("out", folder.integer("out_bytes")));
      ctckit::cuda::ctc_loss_backward(folder.input("grad_losses"), 1, logits, shape, lengths, targets, losses, norms,
                                      occupancy, path_domain ? 0.0 : shift, folder.scratch(8 * shape.B * S), grad,
                                      nullptr);
    }
  } else if (op == "align") {
    const AlignmentOutput out{integers("paths", frames), integers("starts", shape.B * S), integers("ends", shape.B * S),
                              folder.output("scores", R * shape.B * S), folder.output("utterance_scores", R * shape.B)};
    ctckit::cuda::align(logits, shape, lengths, targets, shift,
                        folder.scratch(ctckit::cuda::align_scratch_bytes(logits.type, shape, S)), out, fault, nullptr);
  } else {
    std::fprintf(stderr, "shim: no op %s\n", op.c_str());
    std::exit(2);
  }
  folder.write();
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    Folder folder(arguments[i]);
    solve(folder);
  }
  return 0;
}
