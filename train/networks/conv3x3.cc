// 3x3 convolution, batch norm and pooling of small child networks, float32, NHWC, one image at a time.
//
// An image and its zero border fit a core's cache, so each image goes through all steps of a layer before the next one
// starts: ReLU while it is copied into the padded buffer, the convolution, the sums for batch norm. A 3x3 kernel in
// HWIO order is three rows of 3 C inputs, and so is a row of three neighbouring pixels in the padded buffer: each tap
// row is one contiguous dot product. The inner block keeps 8 pixels x V or 2 V outputs in registers (V = 16 or 8
// floats). Compiled on demand by native.py, without fast-math flags, which would flush denormals in the whole process.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using In = ffi::Buffer<ffi::F32>;
using Out = ffi::ResultBuffer<ffi::F32>;
using std::int64_t;

constexpr float kEpsilon = 1e-5f;
constexpr int kNone = 0, kSkip = 1, kConv1 = 2, kConv3 = 3, kPool = 4;

template <int V>
struct Lanes {
  typedef float type __attribute__((vector_size(4 * V), aligned(4), may_alias));
};

template <int V>
inline typename Lanes<V>::type load(const float* p) {
  return *reinterpret_cast<const typename Lanes<V>::type*>(p);
}

template <int V>
inline void store(float* p, typename Lanes<V>::type v) {
  *reinterpret_cast<typename Lanes<V>::type*>(p) = v;
}

// Scratch memory of a thread, kept between calls: fresh pages cost more than a small layer.
float* scratch(int slot, int64_t floats, bool zero) {
  static thread_local std::vector<float> memory[6];
  auto& m = memory[slot];
  if (static_cast<int64_t>(m.size()) < floats + 32) m.resize(floats + 32);
  auto address = (reinterpret_cast<std::uintptr_t>(m.data()) + 63) & ~std::uintptr_t{63};
  float* p = reinterpret_cast<float*>(address);
  if (zero) std::memset(p, 0, sizeof(float) * floats);
  return p;
}

// Where pixels are: distances in floats.
struct Grid {
  int64_t row, pixel;
};

// A convolution as `taps` rows of `length` contiguous inputs, `step` floats apart.
struct Taps {
  int64_t taps, step, length;
};

int lanes(int64_t outputs) { return outputs % 32 == 0 ? 32 : outputs % 16 == 0 ? 16 : 8; }

// Reorders [rows, outputs] into blocks of lanes(outputs) columns, so that a block is contiguous.
void pack(const float* w, int64_t rows, int64_t outputs, float* packed) {
  const int64_t width = lanes(outputs);
  for (int64_t o = 0; o < outputs; o += width)
    for (int64_t k = 0; k < rows; ++k, packed += width) std::copy_n(w + k * outputs + o, width, packed);
}

// R x Q pixels, N * V outputs.
template <int V, int N, int R, int Q>
inline void block(const float* x, Grid in, Taps taps, const float* w, float* y, Grid out) {
  typename Lanes<V>::type sum[R][Q][N];
  for (int r = 0; r < R; ++r)
    for (int q = 0; q < Q; ++q)
      for (int n = 0; n < N; ++n) sum[r][q][n] = typename Lanes<V>::type{};
  for (int64_t t = 0; t < taps.taps; ++t) {
    const float* p[R][Q];
    for (int r = 0; r < R; ++r)
      for (int q = 0; q < Q; ++q) p[r][q] = x + t * taps.step + r * in.row + q * in.pixel;
    for (int64_t k = 0; k < taps.length; ++k, w += N * V) {
      typename Lanes<V>::type weight[N];
      for (int n = 0; n < N; ++n) weight[n] = load<V>(w + n * V);
      for (int r = 0; r < R; ++r)
        for (int q = 0; q < Q; ++q)
          for (int n = 0; n < N; ++n) sum[r][q][n] += p[r][q][k] * weight[n];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int q = 0; q < Q; ++q)
      for (int n = 0; n < N; ++n) store<V>(y + r * out.row + q * out.pixel + n * V, sum[r][q][n]);
}

// All pixels by blocks; the last block of a row or column overlaps the one before and writes the same values.
// noipa: where GCC specialises it for a caller, it spills, and the forward pass takes 500 us instead of 357 (32 images
// of 16x16 with 16 channels).
template <int V, int N, int R, int Q>
[[gnu::noipa]] void blocks(const float* x, Grid in, Taps taps, const float* packed, float* y, Grid out, int64_t rows,
                           int64_t columns, int64_t outputs) {
  for (int64_t o = 0; o < outputs; o += N * V, packed += taps.taps * taps.length * N * V)
    for (int64_t i = 0; i < rows; i += R) {
      const int64_t r = std::min(i, rows - R);
      for (int64_t j = 0; j < columns; j += Q) {
        const int64_t c = std::min(j, columns - Q);
        block<V, N, R, Q>(x + r * in.row + c * in.pixel, in, taps, packed, y + r * out.row + c * out.pixel + o, out);
      }
    }
}

template <int V, int N>
void shaped(const float* x, Grid in, Taps taps, const float* packed, float* y, Grid out, int64_t rows, int64_t columns,
            int64_t outputs) {
  if (columns >= 8)
    blocks<V, N, 1, 8>(x, in, taps, packed, y, out, rows, columns, outputs);
  else if (columns >= 4 && rows >= 2)
    blocks<V, N, 2, 4>(x, in, taps, packed, y, out, rows, columns, outputs);
  else if (columns >= 2 && rows >= 2)
    blocks<V, N, 2, 2>(x, in, taps, packed, y, out, rows, columns, outputs);
  else
    blocks<V, N, 1, 1>(x, in, taps, packed, y, out, rows, columns, outputs);
}

void convolve(const float* x, Grid in, Taps taps, const float* packed, float* y, Grid out, int64_t rows,
              int64_t columns, int64_t outputs) {
  switch (lanes(outputs)) {
    case 32: return shaped<16, 2>(x, in, taps, packed, y, out, rows, columns, outputs);
    case 16: return shaped<16, 1>(x, in, taps, packed, y, out, rows, columns, outputs);
    default: return shaped<8, 1>(x, in, taps, packed, y, out, rows, columns, outputs);
  }
}

// dw[k, o] += sum over pixels of x[pixel + k] dy[pixel, o] for K inputs k and V outputs.
template <int V, int K>
inline void outer(const float* x, Grid in, const float* dy, Grid from, int64_t rows, int64_t columns, float* dw,
                  int64_t outputs) {
  typename Lanes<V>::type sum[K];
// GCC unrolls at most 16 times by itself, and then the sums live on the stack: half the speed.
#pragma GCC unroll 24
  for (int k = 0; k < K; ++k) sum[k] = load<V>(dw + k * outputs);
  for (int64_t i = 0; i < rows; ++i) {
    const float *p = x + i * in.row, *d = dy + i * from.row;
    for (int64_t j = 0; j < columns; ++j, p += in.pixel, d += from.pixel) {
      const auto v = load<V>(d);
#pragma GCC unroll 24
      for (int k = 0; k < K; ++k) sum[k] += p[k] * v;
    }
  }
#pragma GCC unroll 24
  for (int k = 0; k < K; ++k) store<V>(dw + k * outputs, sum[k]);
}

template <int V>
void accumulate(const float* x, Grid in, Taps taps, const float* dy, Grid from, int64_t rows, int64_t columns,
                float* dw, int64_t outputs) {
  for (int64_t t = 0; t < taps.taps; ++t, x += taps.step, dw += taps.length * outputs)
    for (int64_t o = 0; o < outputs; o += V) {
      int64_t k = 0;
      for (; k + 24 <= taps.length; k += 24)
        outer<V, 24>(x + k, in, dy + o, from, rows, columns, dw + k * outputs + o, outputs);
      for (; k + 8 <= taps.length; k += 8)
        outer<V, 8>(x + k, in, dy + o, from, rows, columns, dw + k * outputs + o, outputs);
      for (; k < taps.length; ++k)
        outer<V, 1>(x + k, in, dy + o, from, rows, columns, dw + k * outputs + o, outputs);
    }
}

void kernel_gradient(const float* x, Grid in, Taps taps, const float* dy, Grid from, int64_t rows, int64_t columns,
                     float* dw, int64_t outputs) {
  if (outputs % 16 == 0)
    accumulate<16>(x, in, taps, dy, from, rows, columns, dw, outputs);
  else
    accumulate<8>(x, in, taps, dy, from, rows, columns, dw, outputs);
}

// A layer: 3x3 at stride 1 or 2, or 1x1 at stride 1.
struct Layer {
  int64_t batch, height, width, channels, outputs, stride, size;
  int64_t border() const { return size / 2; }
  int64_t rows() const { return height / stride; }
  int64_t columns() const { return width / stride; }
  int64_t image() const { return height * width * channels; }
  int64_t result() const { return rows() * columns() * outputs; }
  int64_t weights() const { return size * size * channels * outputs; }
  int64_t padded_row() const { return (width + 2 * border()) * channels; }
  int64_t padded() const { return (height + 2 * border()) * padded_row(); }
  Taps taps() const { return {size, padded_row(), size * channels}; }
  Grid in() const { return {stride * padded_row(), stride * channels}; }
  Grid out() const { return {columns() * outputs, outputs}; }
};

// Copies an image into the middle of a zeroed buffer.
void embed(const float* x, const Layer& l, bool relu, float* padded) {
  const int64_t row = l.width * l.channels;
  padded += l.border() * (l.padded_row() + l.channels);
  for (int64_t i = 0; i < l.height; ++i, x += row, padded += l.padded_row()) {
    if (relu)
      for (int64_t k = 0; k < row; ++k) padded[k] = x[k] < 0 ? 0.0f : x[k];  // lets NaN through
    else
      std::copy_n(x, row, padded);
  }
}

// Weights of the data gradient, packed: inputs and outputs change places, taps run backwards. At stride 2 there are
// four kinds of input pixels (row parity a, column parity b); an even one is reached by the middle tap alone, an odd
// one by the last tap from the nearest output and the first tap from the next one.
struct Backward {
  std::vector<const float*> packed;  // one or four
  Taps taps[4];
};

Backward backward_weights(const float* w, const Layer& l, int64_t dy_row, float* memory) {
  Backward b;
  float* turned = memory + l.weights();
  const int kinds = l.stride == 1 ? 1 : 4;
  for (int kind = 0; kind < kinds; ++kind) {
    std::vector<int> rows, columns;
    if (l.size == 1) {
      rows = columns = {0};
    } else if (l.stride == 1) {
      rows = columns = {2, 1, 0};
    } else {
      rows = kind / 2 ? std::vector<int>{2, 0} : std::vector<int>{1};
      columns = kind % 2 ? std::vector<int>{2, 0} : std::vector<int>{1};
    }
    float* to = turned;
    for (int i : rows)
      for (int j : columns) {
        const float* from = w + (i * l.size + j) * l.channels * l.outputs;
        for (int64_t o = 0; o < l.outputs; ++o)
          for (int64_t c = 0; c < l.channels; ++c) *to++ = from[c * l.outputs + o];
      }
    const int64_t length = static_cast<int64_t>(columns.size()) * l.outputs;
    pack(turned, static_cast<int64_t>(rows.size()) * length, l.channels, memory);
    b.packed.push_back(memory);
    b.taps[kind] = {static_cast<int64_t>(rows.size()), dy_row, length};
    memory += static_cast<int64_t>(rows.size()) * length * l.channels;
    if (kinds == 4) turned = memory + l.weights();
  }
  return b;
}

// dy of one image with zeros around: a border of 1 on all sides at stride 1, at the far sides at stride 2.
int64_t dy_row(const Layer& l) {
  return (l.columns() + (l.size == 1 ? 0 : l.stride == 1 ? 2 : 1)) * l.outputs;
}
int64_t dy_size(const Layer& l) { return (l.rows() + (l.size == 1 ? 0 : l.stride == 1 ? 2 : 1)) * dy_row(l); }
int64_t dy_start(const Layer& l) { return l.size == 3 && l.stride == 1 ? dy_row(l) + l.outputs : 0; }

void data_gradient(const float* padded_dy, const Layer& l, const Backward& b, float* dx) {
  const Grid in{dy_row(l), l.outputs};
  const int64_t row = l.width * l.channels;
  if (l.stride == 1) {
    convolve(padded_dy, in, b.taps[0], b.packed[0], dx, {row, l.channels}, l.height, l.width, l.channels);
    return;
  }
  for (int kind = 0; kind < 4; ++kind)
    convolve(padded_dy, in, b.taps[kind], b.packed[kind], dx + (kind / 2) * row + (kind % 2) * l.channels,
             {2 * row, 2 * l.channels}, l.rows(), l.columns(), l.channels);
}

// Sums over pixels of two functions of a pixel's channels, four pixels at a time.
template <int V, class F>
inline void sums(int64_t pixels, int64_t channels, int64_t o, F f, float* first, float* second) {
  typename Lanes<V>::type a[4]{}, b[4]{};
  int64_t p = 0;
  for (; p + 4 <= pixels; p += 4)
    for (int u = 0; u < 4; ++u) f((p + u) * channels + o, a[u], b[u]);
  for (; p < pixels; ++p) f(p * channels + o, a[0], b[0]);
  store<V>(first + o, (a[0] + a[1]) + (a[2] + a[3]));
  store<V>(second + o, (b[0] + b[1]) + (b[2] + b[3]));
}

// Mean and sum of squared deviations of one image.
template <int V>
void image_moments(const float* x, int64_t pixels, int64_t channels, float* mean, float* squares) {
  typedef typename Lanes<V>::type vec;
  for (int64_t o = 0; o < channels; o += V) {
    sums<V>(pixels, channels, o, [=](int64_t k, vec& a, vec&) { a += load<V>(x + k); }, mean, squares);
    const vec m = load<V>(mean + o) / static_cast<float>(pixels);
    store<V>(mean + o, m);
    typename Lanes<V>::type s[4]{};
    int64_t p = 0;
    for (; p + 4 <= pixels; p += 4)
      for (int u = 0; u < 4; ++u) {
        const vec d = load<V>(x + (p + u) * channels + o) - m;
        s[u] += d * d;
      }
    for (; p < pixels; ++p) {
      const vec d = load<V>(x + p * channels + o) - m;
      s[0] += d * d;
    }
    store<V>(squares + o, (s[0] + s[1]) + (s[2] + s[3]));
  }
}

template <int V>
void normalise(const float* x, int64_t pixels, int64_t channels, const float* mean, const float* factor,
               const float* shift, float* y) {
  for (int64_t o = 0; o < channels; o += V) {
    const auto m = load<V>(mean + o), f = load<V>(factor + o), s = load<V>(shift + o);
    for (int64_t k = o; k < pixels * channels; k += channels) store<V>(y + k, (load<V>(x + k) - m) * f + s);
  }
}

// ReLU, convolution, batch norm with the batch's moments, which are merged from those of the images.
void conv_norm_forward(const Layer& l, const float* x, const float* w, const float* scale,
                       const float* shift, float* y, float* convolved, float* mean, float* variance) {
  float* padded = scratch(0, l.padded(), true);
  float* packed = scratch(1, l.weights(), false);
  pack(w, l.size * l.size * l.channels, l.outputs, packed);
  const int64_t pixels = l.rows() * l.columns(), o = l.outputs;
  float* means = scratch(2, 2 * l.batch * o, false);
  float* squares = means + l.batch * o;
  for (int64_t b = 0; b < l.batch; ++b) {
    float* image = convolved + b * l.result();
    embed(x + b * l.image(), l, true, padded);
    convolve(padded, l.in(), l.taps(), packed, image, l.out(), l.rows(), l.columns(), o);
    (o % 16 ? image_moments<8> : image_moments<16>)(image, pixels, o, means + b * o, squares + b * o);
  }
  float* factor = scratch(3, o, false);
  for (int64_t c = 0; c < o; ++c) {
    double m = 0, s = 0;
    for (int64_t b = 0; b < l.batch; ++b) m += means[b * o + c];
    m /= static_cast<double>(l.batch);
    for (int64_t b = 0; b < l.batch; ++b) {
      const double d = means[b * o + c] - m;
      s += squares[b * o + c] + d * d * static_cast<double>(pixels);
    }
    mean[c] = static_cast<float>(m);
    variance[c] = static_cast<float>(s / static_cast<double>(l.batch * pixels));
    factor[c] = scale[c] / std::sqrt(variance[c] + kEpsilon);
  }
  (o % 16 ? normalise<8> : normalise<16>)(convolved, l.batch * pixels, o, mean, factor, shift, y);
}

template <int V>
void norm_sums(const float* x, const float* dy, int64_t pixels, int64_t channels, const float* mean, float* shift,
               float* scale) {
  typedef typename Lanes<V>::type vec;
  for (int64_t o = 0; o < channels; o += V) {
    const vec m = load<V>(mean + o);
    sums<V>(
        pixels, channels, o,
        [=](int64_t k, vec& a, vec& b) {
          const vec d = load<V>(dy + k);
          a += d;
          b += d * (load<V>(x + k) - m);
        },
        shift, scale);
  }
}

// One image of dy through the batch norm into the middle of the padded buffer: g dy + p (x - mean) + q.
template <int V>
void norm_backward(const Layer& l, const float* x, const float* dy, const float* mean, const float* g, const float* p,
                   const float* q, float* padded) {
  const int64_t row = l.columns() * l.outputs, step = dy_row(l);
  for (int64_t o = 0; o < l.outputs; o += V) {
    const auto vm = load<V>(mean + o), vg = load<V>(g + o), vp = load<V>(p + o), vq = load<V>(q + o);
    for (int64_t i = 0; i < l.rows(); ++i)
      for (int64_t k = o; k < row; k += l.outputs)
        store<V>(padded + i * step + k, load<V>(dy + i * row + k) * vg + (load<V>(x + i * row + k) - vm) * vp + vq);
  }
}

void conv_norm_backward(const Layer& l, const float* x, const float* w, const float* convolved, const float* mean,
                        const float* variance, const float* scale, const float* dy, float* dx, float* dw,
                        float* dscale, float* dshift) {
  const int64_t pixels = l.rows() * l.columns(), o = l.outputs;
  float* padded = scratch(0, l.padded(), true);
  float* memory = scratch(1, 3 * l.weights(), false);
  float* padded_dy = scratch(2, dy_size(l), true);
  float* factors = scratch(3, 5 * o, false);
  float *g = factors, *p = factors + o, *q = factors + 2 * o, *part = factors + 3 * o;
  std::vector<double> total(2 * o, 0.0);
  for (int64_t b = 0; b < l.batch; ++b) {
    const int64_t at = b * l.result();
    (o % 16 ? norm_sums<8> : norm_sums<16>)(convolved + at, dy + at, pixels, o, mean, part, part + o);
    for (int64_t c = 0; c < 2 * o; ++c) total[c] += part[c];
  }
  const double count = static_cast<double>(l.batch * pixels);
  for (int64_t c = 0; c < o; ++c) {
    const double inverse = 1.0 / std::sqrt(static_cast<double>(variance[c]) + kEpsilon);
    dshift[c] = static_cast<float>(total[c]);
    dscale[c] = static_cast<float>(total[o + c] * inverse);
    g[c] = static_cast<float>(scale[c] * inverse);
    p[c] = static_cast<float>(-g[c] * inverse * inverse * total[o + c] / count);
    q[c] = static_cast<float>(-g[c] * total[c] / count);
  }
  const Backward back = backward_weights(w, l, dy_row(l), memory);
  float* start = padded_dy + dy_start(l);
  std::fill_n(dw, l.weights(), 0.0f);
  for (int64_t b = 0; b < l.batch; ++b) {
    const int64_t at = b * l.result();
    const float* image = x + b * l.image();
    float* dimage = dx + b * l.image();
    embed(image, l, true, padded);
    (o % 16 ? norm_backward<8> : norm_backward<16>)(l, convolved + at, dy + at, mean, g, p, q, start);
    kernel_gradient(padded, l.in(), l.taps(), start, {dy_row(l), o}, l.rows(), l.columns(), dw, o);
    data_gradient(padded_dy, l, back, dimage);
    for (int64_t k = 0; k < l.image(); ++k) dimage[k] = image[k] > 0 ? dimage[k] : 0.0f;
  }
}

// 3x3 sums of one image; the factors per row and per column are applied before (gradient) or after (mean).
void pool(const float* x, int64_t height, int64_t width, int64_t channels, const float* rows, const float* columns,
          bool before, float* line, float* y) {
  const int64_t row = width * channels;
  for (int64_t i = 0; i < height; ++i, y += row) {
    float* inner = line + channels;
    const float* here = x + i * row;
    const float *up = i ? here - row : nullptr, *down = i + 1 < height ? here + row : nullptr;
    const float a = before && up ? rows[i - 1] : 1.0f, b = before ? rows[i] : 1.0f;
    const float c = before && down ? rows[i + 1] : 1.0f;
    if (up && down)
      for (int64_t k = 0; k < row; ++k) inner[k] = a * up[k] + b * here[k] + c * down[k];
    else if (up)
      for (int64_t k = 0; k < row; ++k) inner[k] = a * up[k] + b * here[k];
    else if (down)
      for (int64_t k = 0; k < row; ++k) inner[k] = b * here[k] + c * down[k];
    else
      for (int64_t k = 0; k < row; ++k) inner[k] = b * here[k];
    if (before)
      for (int64_t k = 0; k < row; ++k) inner[k] *= columns[k];
    for (int64_t k = 0; k < row; ++k) y[k] = inner[k - channels] + inner[k] + inner[k + channels];
    if (!before)
      for (int64_t k = 0; k < row; ++k) y[k] *= rows[i] * columns[k];
  }
}

void pool_batch(const float* x, const Layer& l, bool gradient, float* y) {
  const int64_t row = l.width * l.channels;
  float* rows = scratch(4, l.height + row, false);
  float* columns = rows + l.height;
  float* line = scratch(5, row + 2 * l.channels, true);
  auto share = [](int64_t i, int64_t side) { return 1.0f / static_cast<float>(1 + (i > 0) + (i + 1 < side)); };
  for (int64_t i = 0; i < l.height; ++i) rows[i] = share(i, l.height);
  for (int64_t k = 0; k < row; ++k) columns[k] = share(k / l.channels, l.width);
  for (int64_t b = 0; b < l.batch; ++b)
    pool(x + b * l.image(), l.height, l.width, l.channels, rows, columns, gradient, line, y + b * l.image());
}

Layer layer_of(const In& x, int64_t outputs, int64_t stride, int64_t size) {
  const auto d = x.dimensions();
  return {d[0], d[1], d[2], d[3], outputs, stride, size};
}

ffi::Error ConvForward(In x, In w, Out y, int32_t stride) {
  const Layer l = layer_of(x, w.dimensions()[3], stride, 3);
  float* padded = scratch(0, l.padded(), true);
  float* packed = scratch(1, l.weights(), false);
  pack(w.typed_data(), 9 * l.channels, l.outputs, packed);
  for (int64_t b = 0; b < l.batch; ++b) {
    embed(x.typed_data() + b * l.image(), l, false, padded);
    convolve(padded, l.in(), l.taps(), packed, y->typed_data() + b * l.result(), l.out(), l.rows(), l.columns(),
             l.outputs);
  }
  return ffi::Error::Success();
}

ffi::Error ConvDataGradient(In w, In dy, Out dx, int32_t stride) {
  const auto d = dx->dimensions();
  const Layer l{d[0], d[1], d[2], d[3], w.dimensions()[3], stride, 3};
  float* memory = scratch(1, 3 * l.weights(), false);
  float* padded = scratch(2, dy_size(l), true);
  const Backward back = backward_weights(w.typed_data(), l, dy_row(l), memory);
  const int64_t row = l.columns() * l.outputs;
  for (int64_t b = 0; b < l.batch; ++b) {
    const float* image = dy.typed_data() + b * l.result();
    for (int64_t i = 0; i < l.rows(); ++i) std::copy_n(image + i * row, row, padded + dy_start(l) + i * dy_row(l));
    data_gradient(padded, l, back, dx->typed_data() + b * l.image());
  }
  return ffi::Error::Success();
}

ffi::Error ConvKernelGradient(In x, In dy, Out dw, int32_t stride) {
  const Layer l = layer_of(x, dy.dimensions()[3], stride, 3);
  float* padded = scratch(0, l.padded(), true);
  std::fill_n(dw->typed_data(), l.weights(), 0.0f);
  for (int64_t b = 0; b < l.batch; ++b) {
    embed(x.typed_data() + b * l.image(), l, false, padded);
    kernel_gradient(padded, l.in(), l.taps(), dy.typed_data() + b * l.result(), l.out(), l.rows(), l.columns(),
                    dw->typed_data(), l.outputs);
  }
  return ffi::Error::Success();
}

ffi::Error ConvNormForward(In x, In w, In scale, In shift, Out y, Out convolved, Out mean, Out variance,
                           int32_t stride) {
  const Layer l = layer_of(x, w.dimensions()[3], stride, 3);
  conv_norm_forward(l, x.typed_data(), w.typed_data(), scale.typed_data(), shift.typed_data(), y->typed_data(),
                    convolved->typed_data(), mean->typed_data(), variance->typed_data());
  return ffi::Error::Success();
}

ffi::Error ConvNormBackward(In x, In w, In convolved, In mean, In variance, In scale, In dy, Out dx, Out dw,
                            Out dscale, Out dshift, int32_t stride) {
  const Layer l = layer_of(x, w.dimensions()[3], stride, 3);
  conv_norm_backward(l, x.typed_data(), w.typed_data(), convolved.typed_data(), mean.typed_data(),
                     variance.typed_data(), scale.typed_data(), dy.typed_data(), dx->typed_data(), dw->typed_data(),
                     dscale->typed_data(), dshift->typed_data());
  return ffi::Error::Success();
}

ffi::Error EdgeForward(ffi::Buffer<ffi::S32> operation, In x, In conv1, In scale1, In shift1, In conv3, In scale3,
                       In shift3, Out y, Out convolved, Out mean, Out variance) {
  const int64_t channels = x.dimensions()[3];
  const int op = *operation.typed_data();
  const bool one = op == kConv1;
  const Layer l = layer_of(x, channels, 1, one ? 1 : 3);
  if (op == kConv1 || op == kConv3) {
    conv_norm_forward(l, x.typed_data(), (one ? conv1 : conv3).typed_data(), (one ? scale1 : scale3).typed_data(),
                      (one ? shift1 : shift3).typed_data(), y->typed_data(), convolved->typed_data(),
                      mean->typed_data(), variance->typed_data());
    return ffi::Error::Success();
  }
  std::fill_n(mean->typed_data(), channels, 0.0f);
  std::fill_n(variance->typed_data(), channels, 1.0f);
  const int64_t size = l.batch * l.image();
  if (op == kSkip) std::copy_n(x.typed_data(), size, y->typed_data());
  else if (op == kPool) pool_batch(x.typed_data(), l, false, y->typed_data());
  else std::fill_n(y->typed_data(), size, 0.0f);
  return ffi::Error::Success();
}

ffi::Error EdgeBackward(ffi::Buffer<ffi::S32> operation, In x, In convolved, In mean, In variance, In conv1, In scale1,
                        In conv3, In scale3, In dy, Out dx, Out dconv1, Out dscale1, Out dshift1, Out dconv3,
                        Out dscale3, Out dshift3) {
  const int64_t channels = x.dimensions()[3];
  const int op = *operation.typed_data();
  const bool one = op == kConv1;
  const Layer l = layer_of(x, channels, 1, one ? 1 : 3);
  for (Out* out : {&dconv1, &dscale1, &dshift1, &dconv3, &dscale3, &dshift3})
    std::fill_n((*out)->typed_data(), (*out)->element_count(), 0.0f);
  if (op == kConv1 || op == kConv3) {
    conv_norm_backward(l, x.typed_data(), (one ? conv1 : conv3).typed_data(), convolved.typed_data(),
                       mean.typed_data(), variance.typed_data(), (one ? scale1 : scale3).typed_data(),
                       dy.typed_data(), dx->typed_data(), (one ? dconv1 : dconv3)->typed_data(),
                       (one ? dscale1 : dscale3)->typed_data(), (one ? dshift1 : dshift3)->typed_data());
    return ffi::Error::Success();
  }
  const int64_t size = l.batch * l.image();
  if (op == kSkip) std::copy_n(dy.typed_data(), size, dx->typed_data());
  else if (op == kPool) pool_batch(dy.typed_data(), l, true, dx->typed_data());
  else std::fill_n(dx->typed_data(), size, 0.0f);
  return ffi::Error::Success();
}

using S32 = ffi::Buffer<ffi::S32>;
using F32 = ffi::Buffer<ffi::F32>;

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_forward, ConvForward,
                              ffi::Ffi::Bind().Arg<F32>().Arg<F32>().Ret<F32>().Attr<int32_t>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_data_gradient, ConvDataGradient,
                              ffi::Ffi::Bind().Arg<F32>().Arg<F32>().Ret<F32>().Attr<int32_t>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_kernel_gradient, ConvKernelGradient,
                              ffi::Ffi::Bind().Arg<F32>().Arg<F32>().Ret<F32>().Attr<int32_t>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(relu_conv_norm_forward, ConvNormForward,
                              ffi::Ffi::Bind().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>()
                                  .Attr<int32_t>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(relu_conv_norm_backward, ConvNormBackward,
                              ffi::Ffi::Bind().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Attr<int32_t>("stride"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(edge_forward, EdgeForward,
                              ffi::Ffi::Bind().Arg<S32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(edge_backward, EdgeBackward,
                              ffi::Ffi::Bind().Arg<S32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>());
