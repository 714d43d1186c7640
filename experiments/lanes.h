// What the training loops of this folder share: vectors that hold one digit a lane, and the pieces of LeNet-5's layers.
//
// A vector holds the same number of LANES digits: lane i belongs to digit i. So one instruction does the same for all
// of them, and no map is too small. The vectors are the compiler's own (GCC, Clang): AVX-512, AVX2, SSE or NEON, whatever
// -march says.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool MANY = true;  // 32 vector registers, elsewhere 16
#else
constexpr bool MANY = false;
#endif
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int Whole __attribute__((vector_size(4 * LANES)));
typedef float Four __attribute__((vector_size(16)));

constexpr int K = 5;                                // side of every kernel
constexpr int MAPS1 = 6, SIDE1 = 28, POOLED1 = 14;  // C1 and S2
constexpr int MAPS3 = 16, SIDE3 = 10, POOLED3 = 5;  // C3 and S4
constexpr int IN5 = MAPS3 * POOLED3 * POOLED3, IN6 = 120, IN7 = 84, CLASSES = 10;
// Sums that fit into the registers: maps at a time, the pixels of a row of C1, rows of a dense layer's gradients.
constexpr int PAIR = MANY ? 2 : 1, STRIP = MANY ? 14 : 7, C3_MAPS = MANY ? 4 : 2, C1_MAPS = MANY ? 3 : 2;
constexpr int DENSE_ROWS = MANY ? 4 : 2, DENSE_SUMS = 12, CHAINS = MANY ? 24 : 12;

constexpr int whole_vectors(int count) { return (count + 15) / 16 * 16; }

// sums[m][x] += in[x + k] * kernels[m][k] for all five k: one row of a convolution, for M maps at once.
template <int M, int N>
static inline void convolve_row(Lanes (&sums)[M][N], const Lanes* in, const float* kernels, int distance) {
#pragma GCC unroll 32
    for (int i = 0; i < N + K - 1; i++) {
        Lanes value = in[i];
#pragma GCC unroll 4
        for (int m = 0; m < M; m++)
#pragma GCC unroll 5
            for (int k = 0; k < K; k++)
                if (0 <= i - k && i - k < N) sums[m][i - k] += value * kernels[m * distance + k];
    }
}

// The transpose: sums[m][x + k] += out[x] * kernels[m][k], which hands a row's gradients back to its inputs.
template <int M, int N>
static inline void spread_row(Lanes (&sums)[M][N + K - 1], const Lanes* out, const float* kernels, int distance) {
#pragma GCC unroll 32
    for (int x = 0; x < N; x++) {
        Lanes value = out[x];
#pragma GCC unroll 4
        for (int m = 0; m < M; m++)
#pragma GCC unroll 5
            for (int k = 0; k < K; k++) sums[m][x + k] += value * kernels[m * distance + k];
    }
}

// sums[m][k] += out_m[x] * in[x + k] over a row: the gradients of five weights of M maps, `distance` apart in `out`.
template <int M, int N>
static inline void weight_row(Lanes (&sums)[M][K], const Lanes* out, int distance, const Lanes* in) {
#pragma GCC unroll 32
    for (int x = 0; x < N; x++)
#pragma GCC unroll 4
        for (int m = 0; m < M; m++) {
            Lanes value = out[m * distance + x];
#pragma GCC unroll 5
            for (int k = 0; k < K; k++) sums[m][k] += value * in[x + k];
        }
}

// e^x as 2^t: the whole part of t goes into the exponent bits of a float; 2^rest, with the rest at most a half either
// way, is a polynomial (fitted to the least relative error, 8e-8).
static inline Lanes exponential(Lanes x) {
    Lanes t = x * 1.44269504f;
    // Beyond that a sum with one no longer notices, and far smaller numbers would be denormal, which is slow.
    t = t < -60 ? Lanes{} - 60 : t > 60 ? Lanes{} + 60 : t;
    Lanes shifted = t + 12582912.0f;  // 1.5 * 2^23: only whole numbers are that large, so the sum is rounded to one
    Lanes r = t - (shifted - 12582912.0f);
    Lanes series = 1 + r * (0.693146944f + r * (0.240221217f + r * (0.0555074252f + r * (0.00967545994f + r * 0.0013266971f))));
    Whole bits = ((Whole)shifted - 0x4B400000 + 127) << 23;
    return series * (Lanes)bits;
}

static inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

static inline Lanes mean(const Lanes* upper, const Lanes* lower) {
    return 0.25f * (upper[0] + upper[1] + lower[0] + lower[1]);
}

static float total(Lanes lanes) {
    Four parts[LANES / 4], sum = {};
    memcpy(parts, &lanes, sizeof parts);
    for (Four part : parts) sum += part;
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// out[o] = bias[o] + weights[o] . in, T of them at a time, whose sums stay in the registers.
template <int OUT, int IN, int WIDE>
static inline void dense(const Lanes* in, const float (&weights)[OUT][WIDE], const float* bias, Lanes* out) {
    constexpr int T = OUT % DENSE_SUMS ? OUT : DENSE_SUMS;
    for (int o = 0; o < OUT; o += T) {
        Lanes sums[T];
        for (int t = 0; t < T; t++) sums[t] = Lanes{} + bias[o + t];
        for (int i = 0; i < IN; i++) {
            Lanes value = in[i];
#pragma GCC unroll 12
            for (int t = 0; t < T; t++) sums[t] += value * weights[o + t][i];
        }
        for (int t = 0; t < T; t++) out[o + t] = sums[t];
    }
}

// The transpose: in[i] = sum over o of weights[o][i] * out[o].
template <int OUT, int IN, int WIDE> static inline void dense_back(const Lanes* out, const float (&weights)[OUT][WIDE], Lanes* in) {
    constexpr int T = IN % DENSE_SUMS ? 10 : DENSE_SUMS;
    static_assert(IN % T == 0, "whole groups of sums");
    for (int i = 0; i < IN; i += T) {
        Lanes sums[T] = {};
        for (int o = 0; o < OUT; o++) {
            Lanes value = out[o];
#pragma GCC unroll 12
            for (int t = 0; t < T; t++) sums[t] += value * weights[o][i + t];
        }
        for (int t = 0; t < T; t++) in[i + t] = sums[t];
    }
}

// From one digit a lane to one digit a row.
static inline void to_rows(const Lanes* lanes, int count, float* rows, int wide) {
    for (int j = 0; j < count; j++)
        for (int i = 0; i < LANES; i++) rows[i * wide + j] = lanes[j][i];
}

// sums = sum over digits of out[r] * in[c]: R rows by C vectors of the gradients of a dense layer's weights.
template <int R, int C>
static inline void weight_block(Lanes (&sums)[R][C], const float* in, int in_wide, const float* out, int out_wide, int digits) {
    for (int digit = 0; digit < digits; digit++) {
        const Lanes* values = (const Lanes*)(in + (size_t)digit * in_wide);
        const float* gradients = out + (size_t)digit * out_wide;
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
#pragma GCC unroll 6
            for (int c = 0; c < C; c++) sums[r][c] += values[c] * gradients[r];
    }
}

// Gradient descent, or AdamW where moments are kept, as PyTorch has them.
struct Optimizer {
    float lr, decay, beta1, beta2, epsilon, correction1, correction2;

    void change(float* weights, const float* gradients, float* first, float* second, int count) const {
        if (!first) {
            for (int i = 0; i < count; i++) weights[i] -= lr * gradients[i];
            return;
        }
        for (int i = 0; i < count; i++) {
            first[i] += (1 - beta1) * (gradients[i] - first[i]);
            second[i] = beta2 * second[i] + (1 - beta2) * gradients[i] * gradients[i];
            float step = first[i] / (std::sqrt(second[i]) / correction2 + epsilon);
            weights[i] = weights[i] * (1 - lr * decay) - lr / correction1 * step;
        }
    }
};

