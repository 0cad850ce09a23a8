// The working type of a storage type: double for double, float for float and the halves.
#pragma once

namespace ctckit {

template <class T>
struct WorkingOf {
  using type = float;
};
template <>
struct WorkingOf<double> {
  using type = double;
};
template <class T>
using Working = typename WorkingOf<T>::type;

}  // namespace ctckit
