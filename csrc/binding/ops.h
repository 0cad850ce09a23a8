// The names of the ops, once for all devices. To register: define what is done with a name, and apply the list to it.
#pragma once

#define CTCKIT_EACH_OP(DO)            \
  DO(frame_stats)                     \
  DO(greedy)                          \
  DO(greedy_with_stats)               \
  DO(penalized_log_softmax)           \
  DO(penalized_log_softmax_backward)  \
  DO(penalized_log_softmax_with_path) \
  DO(ctc_loss)                        \
  DO(ctc_loss_backward)               \
  DO(align)                           \
  DO(sweep)

// NOT_ON_CUDA and ON_A_COPY in ctckit/ops/registration.py.
#define CTCKIT_EACH_OP_ON_CPU_ALONE(DO) \
  DO(beam_search)                       \
  DO(read_arpa)                         \
  DO(ctc_loss_with_entropy)             \
  DO(ctc_loss_with_entropy_backward)
