// C1, S2, C3 and S4 of tutorial_lenet, forward and backward, for a processor with wide vector registers.
//
// A vector holds the same number of LANES digits: lane i belongs to digit i. So one instruction does the same step for
// all of them, and no map is too small. Each thread takes LANES digits through all four layers, whose numbers then stay
// in its cache. A row of sums stays in registers while the kernel's five weights and the input pass by once.
//
// speed.py compiles this file and calls it; the names of the layers and the order of the weights are PyTorch's.
#include <algorithm>
#include <cstring>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_num_threads() { return 1; }
#endif

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int Whole __attribute__((vector_size(4 * LANES)));

constexpr int K = 5;                            // side of every kernel
constexpr int MAPS1 = 6, SIDE1 = 28, POOLED1 = 14;  // C1 and S2
constexpr int MAPS3 = 16, SIDE3 = 10, POOLED3 = 5;  // C3 and S4
constexpr int FEATURES = MAPS3 * POOLED3 * POOLED3;
constexpr int PART = 14;                        // C1's rows of 28 are done in two parts: more sums than registers would not help

typedef Lanes Image[SIDE1 + 4][SIDE1 + 4];      // with the two zeros of padding at each side
// What the backward pass needs of LANES digits: the activations of C1, S2 and C3.
struct Activations {
    Lanes c1[MAPS1][SIDE1][SIDE1], s2[MAPS1][POOLED1][POOLED1], c3[MAPS3][SIDE3][SIDE3];
};

// sums[x] += in[x + k] * kernel[k] for all five k: one row of a convolution.
template <int N> static inline void convolve_row(Lanes (&sums)[N], const Lanes* in, const float* kernel) {
#pragma GCC unroll 32
    for (int i = 0; i < N + K - 1; i++) {
        Lanes value = in[i];
#pragma GCC unroll 5
        for (int k = 0; k < K; k++)
            if (0 <= i - k && i - k < N) sums[i - k] += value * kernel[k];
    }
}

// The transpose: sums[x + k] += out[x] * kernel[k], which hands a row's gradients back to its inputs.
template <int N> static inline void spread_row(Lanes (&sums)[N + K - 1], const Lanes* out, const float* kernel) {
#pragma GCC unroll 32
    for (int x = 0; x < N; x++) {
        Lanes value = out[x];
#pragma GCC unroll 5
        for (int k = 0; k < K; k++) sums[x + k] += value * kernel[k];
    }
}

// sums[j][k] += out_j[x] * in[x + k] over a row: the gradients of five weights of two maps.
template <int N>
static inline void weight_row(Lanes (&sums)[2][K], const Lanes* out_0, const Lanes* out_1, const Lanes* in) {
#pragma GCC unroll 32
    for (int x = 0; x < N; x++) {
        Lanes first = out_0[x], second = out_1[x];
#pragma GCC unroll 5
        for (int k = 0; k < K; k++) {
            Lanes value = in[x + k];
            sums[0][k] += first * value;
            sums[1][k] += second * value;
        }
    }
}

// 1 / (1 + exp(-x)). With t = -x / ln 2, exp(-x) is 2^t: the whole part of t goes into the exponent bits of a float, and
// the rest, at most a half either way, into the Taylor series of 2^t (an error below 2e-7).
static inline Lanes sigmoid(Lanes x) {
    Lanes t = x * -1.44269504f;
    t = t < -126 ? Lanes{} - 126 : t > 126 ? Lanes{} + 126 : t;
    Whole whole = __builtin_convertvector(t + (t < 0 ? Lanes{} - 0.5f : Lanes{} + 0.5f), Whole);
    Lanes rest = (t - __builtin_convertvector(whole, Lanes)) * 0.69314718f;
    Lanes series = 1 + rest * (1 + rest / 2 * (1 + rest / 3 * (1 + rest / 4 * (1 + rest / 5 * (1 + rest / 6)))));
    Whole bits = (whole + 127) << 23;
    return 1 / (1 + series * (Lanes)bits);
}

// The digits batch[first], batch[first + 1], ... of the whole split, one a lane.
static void gather(Image image, const float* images, const long long* batch, int first, int count) {
    for (int y = 0; y < SIDE1; y++)
        for (int i = 0; i < LANES; i++) {
            const float* row = i < count ? images + (batch[first + i] * SIDE1 + y) * SIDE1 : nullptr;
            for (int x = 0; x < SIDE1; x++) ((float*)&image[y + 2][x + 2])[i] = row ? row[x] : 0;
        }
}

static Lanes mean(const Lanes* upper, const Lanes* lower) {
    return 0.25f * (upper[0] + upper[1] + lower[0] + lower[1]);
}

static float total(Lanes lanes) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

extern "C" {

int lanes() { return LANES; }

// Bytes of Activations for `count` digits.
long long buffer_size(int count) { return (long long)sizeof(Activations) * ((count + LANES - 1) / LANES); }

// images [., 28, 28], batch [count] -> features [count, 400], and the activations.
void forward(const float* images, const long long* batch, int count, const float* w1, const float* b1, const float* w3,
             const float* b3, Activations* activations, float* features) {
#pragma omp parallel for schedule(static)
    for (int block = 0; block < (count + LANES - 1) / LANES; block++) {
        static thread_local Image image;
        Activations& s = activations[block];
        int first = block * LANES, here = std::min(LANES, count - first);
        gather(image, images, batch, first, here);

        for (int y = 0; y < SIDE1; y += 2)
            for (int o = 0; o < MAPS1; o++) {
                for (int row = y; row < y + 2; row++)
                    for (int part = 0; part < SIDE1; part += PART) {
                        Lanes sums[PART];
                        for (Lanes& sum : sums) sum = Lanes{} + b1[o];
                        for (int ky = 0; ky < K; ky++)
                            convolve_row<PART>(sums, image[row + ky] + part, w1 + (o * K + ky) * K);
                        for (int x = 0; x < PART; x++) s.c1[o][row][part + x] = sigmoid(sums[x]);
                    }
                for (int x = 0; x < POOLED1; x++)
                    s.s2[o][y / 2][x] = mean(s.c1[o][y] + 2 * x, s.c1[o][y + 1] + 2 * x);
            }

        for (int y = 0; y < SIDE3; y++)
            for (int o = 0; o < MAPS3; o++) {
                Lanes sums[SIDE3];
                for (Lanes& sum : sums) sum = Lanes{} + b3[o];
                for (int c = 0; c < MAPS1; c++)
                    for (int ky = 0; ky < K; ky++)
                        convolve_row<SIDE3>(sums, s.s2[c][y + ky], w3 + ((o * MAPS1 + c) * K + ky) * K);
                for (int x = 0; x < SIDE3; x++) s.c3[o][y][x] = sigmoid(sums[x]);
            }

        for (int o = 0; o < MAPS3; o++)
            for (int y = 0; y < POOLED3; y++)
                for (int x = 0; x < POOLED3; x++) {
                    Lanes pooled = mean(s.c3[o][2 * y] + 2 * x, s.c3[o][2 * y + 1] + 2 * x);
                    for (int i = 0; i < here; i++)
                        features[(first + i) * FEATURES + (o * POOLED3 + y) * POOLED3 + x] = pooled[i];
                }
    }
}

// Gradients of the features [count, 400] -> gradients of the weights, added to dw1 [6, 5, 5], db1 [6],
// dw3 [16, 6, 5, 5] and db3 [16].
void backward(const float* images, const long long* batch, int count, const float* w3, const Activations* activations,
              const float* dfeatures, float* dw1, float* db1, float* dw3, float* db3) {
#pragma omp parallel
    {
        static thread_local Image image;
        static thread_local Lanes d3[MAPS3][SIDE3][SIDE3], d2[MAPS1][POOLED1][POOLED1], d1[MAPS1][SIDE1];
        // Gradients of this thread's digits, a lane each until the end.
        static thread_local struct { Lanes w1[MAPS1][K][K], b1[MAPS1], w3[MAPS3][MAPS1][K][K], b3[MAPS3]; } sum;
        memset(&sum, 0, sizeof sum);
#pragma omp for schedule(static)
        for (int block = 0; block < (count + LANES - 1) / LANES; block++) {
            const Activations& s = activations[block];
            int first = block * LANES, here = std::min(LANES, count - first);
            gather(image, images, batch, first, here);

            // S4 and C3's sigmoid, whose derivative is s (1 - s).
            for (int o = 0; o < MAPS3; o++)
                for (int y = 0; y < POOLED3; y++)
                    for (int x = 0; x < POOLED3; x++) {
                        Lanes above = {};
                        for (int i = 0; i < here; i++)
                            above[i] = 0.25f * dfeatures[(first + i) * FEATURES + (o * POOLED3 + y) * POOLED3 + x];
                        for (int row = 2 * y; row < 2 * y + 2; row++)
                            for (int column = 2 * x; column < 2 * x + 2; column++) {
                                Lanes state = s.c3[o][row][column];
                                d3[o][row][column] = above * state * (1 - state);
                                sum.b3[o] += d3[o][row][column];
                            }
                    }
            // C3: its weights, then its inputs.
            for (int o = 0; o < MAPS3; o += 2)
                for (int c = 0; c < MAPS1; c++)
                    for (int ky = 0; ky < K; ky++) {
                        Lanes sums[2][K] = {};
                        for (int y = 0; y < SIDE3; y++)
                            weight_row<SIDE3>(sums, d3[o][y], d3[o + 1][y], s.s2[c][y + ky]);
                        for (int k = 0; k < K; k++) {
                            sum.w3[o][c][ky][k] += sums[0][k];
                            sum.w3[o + 1][c][ky][k] += sums[1][k];
                        }
                    }
            memset(d2, 0, sizeof d2);
            for (int c = 0; c < MAPS1; c++)
                for (int o = 0; o < MAPS3; o++)
                    for (int y = 0; y < POOLED1; y++) {
                        Lanes sums[POOLED1];
                        std::copy(d2[c][y], d2[c][y] + POOLED1, sums);
                        for (int ky = std::max(0, y - SIDE3 + 1); ky <= std::min(K - 1, y); ky++)
                            spread_row<SIDE3>(sums, d3[o][y - ky], w3 + ((o * MAPS1 + c) * K + ky) * K);
                        std::copy(sums, sums + POOLED1, d2[c][y]);
                    }
            // S2, C1's sigmoid and C1's weights, row by row; nobody needs the gradients of the image.
            for (int y = 0; y < SIDE1; y++) {
                for (int o = 0; o < MAPS1; o++)
                    for (int x = 0; x < SIDE1; x++) {
                        Lanes state = s.c1[o][y][x];
                        d1[o][x] = 0.25f * d2[o][y / 2][x / 2] * state * (1 - state);
                        sum.b1[o] += d1[o][x];
                    }
                for (int o = 0; o < MAPS1; o += 2)
                    for (int ky = 0; ky < K; ky++) {
                        Lanes sums[2][K] = {};
                        for (int part = 0; part < SIDE1; part += PART)
                            weight_row<PART>(sums, d1[o] + part, d1[o + 1] + part, image[y + ky] + part);
                        for (int k = 0; k < K; k++) {
                            sum.w1[o][ky][k] += sums[0][k];
                            sum.w1[o + 1][ky][k] += sums[1][k];
                        }
                    }
            }
        }
        // One thread after the other, so that the sums are the same every time.
#pragma omp for ordered schedule(static, 1)
        for (int thread = 0; thread < omp_get_num_threads(); thread++)
#pragma omp ordered
        {
            for (int i = 0; i < MAPS1 * K * K; i++) dw1[i] += total((&sum.w1[0][0][0])[i]);
            for (int i = 0; i < MAPS1; i++) db1[i] += total(sum.b1[i]);
            for (int i = 0; i < MAPS3 * MAPS1 * K * K; i++) dw3[i] += total((&sum.w3[0][0][0][0])[i]);
            for (int i = 0; i < MAPS3; i++) db3[i] += total(sum.b3[i]);
        }
    }
}
}
