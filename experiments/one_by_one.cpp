// LeNet-5 of 1998, trained one digit at a time: forward, backward, and a step of its own for each weight.
//
// One digit is too little work for a library: PyTorch spends more time on starting each operation than on doing it. So
// a whole pass is one call. The maps of a layer lie beside each other in vectors of LANES numbers (six maps fill one, two
// of them empty; sixteen fill two), and a weight is subtracted from as soon as its gradient is known.
//
// original_1998.py compiles this file and calls it; a test holds it against PyTorch's autograd.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

constexpr int LANES = 8;
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int Whole __attribute__((vector_size(4 * LANES)));

constexpr int K = 5;                                             // side of every kernel
constexpr int SIDE0 = 32, SIDE1 = 28, SIDE2 = 14, SIDE3 = 10, SIDE4 = 5;
constexpr int MAPS1 = 6, MAPS3 = 16, UNITS5 = 120, UNITS6 = 84, CLASSES = 10;
constexpr int V3 = MAPS3 / LANES, V5 = UNITS5 / LANES, V6 = (UNITS6 + LANES - 1) / LANES;  // vectors a row of units
constexpr float A = 1.7159f, S = 2.0f / 3;                       // squash(a) = A tanh(S a)

// All that is trained, inputs before outputs: PyTorch has them the other way round. Absent weights of C3 are zero, with
// steps of zero. The same structure holds the step sizes.
struct Weights {
    Lanes w1[K][K], b1, k2, b2;
    Lanes w3[K][K][MAPS1][V3], b3[V3], k4[V3], b4[V3];
    Lanes w5[SIDE4 * SIDE4 * MAPS3][V5], b5[V5], w6[UNITS5][V6], b6[V6];
};

static float total(Lanes lanes) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

// exp(x) is 2^t with t = x / ln 2: the whole part of t goes into the exponent bits of a float, and the rest, at most a half
// either way, into the Taylor series of 2^t (an error below 2e-7).
static inline Lanes squash(Lanes a) {
    Lanes t = a * (2 * S * 1.44269504f);
    t = t < -40 ? Lanes{} - 40 : t > 40 ? Lanes{} + 40 : t;
    Whole whole = __builtin_convertvector(t + (t < 0 ? Lanes{} - 0.5f : Lanes{} + 0.5f), Whole);
    Lanes rest = (t - __builtin_convertvector(whole, Lanes)) * 0.69314718f;
    Lanes series = 1 + rest * (1 + rest / 2 * (1 + rest / 3 * (1 + rest / 4 * (1 + rest / 5 * (1 + rest / 6)))));
    Whole bits = (whole + 127) << 23;
    return A - 2 * A / (1 + series * (Lanes)bits);
}

// The slope of squash where it gives x.
static inline Lanes slope(Lanes x) { return S / A * (A * A - x * x); }

struct Maps {
    Lanes c1[SIDE1][SIDE1], sum2[SIDE2][SIDE2], s2[SIDE2][SIDE2];
    Lanes c3[SIDE3][SIDE3][V3], sum4[SIDE4][SIDE4][V3], s4[SIDE4][SIDE4][V3];
    Lanes c5[V5], f6[V6];
};

static void forward(const Weights& w, const float (*image)[SIDE0], Maps& m) {
    for (int y = 0; y < SIDE1; y++)
        for (int half = 0; half < SIDE1; half += 14) {
            Lanes sums[14];
            for (Lanes& sum : sums) sum = w.b1;
            for (int ky = 0; ky < K; ky++)
                for (int kx = 0; kx < K; kx++)
#pragma GCC unroll 14
                    for (int x = 0; x < 14; x++) sums[x] += image[y + ky][half + x + kx] * w.w1[ky][kx];
            for (int x = 0; x < 14; x++) m.c1[y][half + x] = squash(sums[x]);
        }
    for (int y = 0; y < SIDE2; y++)
        for (int x = 0; x < SIDE2; x++) {
            const Lanes *upper = &m.c1[2 * y][2 * x], *lower = &m.c1[2 * y + 1][2 * x];
            m.sum2[y][x] = upper[0] + upper[1] + lower[0] + lower[1];
            m.s2[y][x] = squash(w.k2 * m.sum2[y][x] + w.b2);
        }
    for (int y = 0; y < SIDE3; y++)
        for (int half = 0; half < SIDE3; half += 5) {
            Lanes sums[5][V3];
            for (auto& sum : sums) std::copy(w.b3, w.b3 + V3, sum);
            for (int ky = 0; ky < K; ky++)
                for (int kx = 0; kx < K; kx++)
                    for (int c = 0; c < MAPS1; c++)
#pragma GCC unroll 5
                        for (int x = 0; x < 5; x++)
#pragma GCC unroll 2
                            for (int v = 0; v < V3; v++)
                                sums[x][v] += m.s2[y + ky][half + x + kx][c] * w.w3[ky][kx][c][v];
            for (int x = 0; x < 5; x++)
                for (int v = 0; v < V3; v++) m.c3[y][half + x][v] = squash(sums[x][v]);
        }
    for (int y = 0; y < SIDE4; y++)
        for (int x = 0; x < SIDE4; x++)
            for (int v = 0; v < V3; v++) {
                m.sum4[y][x][v] = m.c3[2 * y][2 * x][v] + m.c3[2 * y][2 * x + 1][v] + m.c3[2 * y + 1][2 * x][v] +
                                  m.c3[2 * y + 1][2 * x + 1][v];
                m.s4[y][x][v] = squash(w.k4[v] * m.sum4[y][x][v] + w.b4[v]);
            }
    const float* features = (const float*)m.s4;
    Lanes sums[V5];
    std::copy(w.b5, w.b5 + V5, sums);
    for (int i = 0; i < SIDE4 * SIDE4 * MAPS3; i++)
#pragma GCC unroll 15
        for (int v = 0; v < V5; v++) sums[v] += features[i] * w.w5[i][v];
    for (int v = 0; v < V5; v++) m.c5[v] = squash(sums[v]);
    std::copy(w.b6, w.b6 + V6, sums);
    for (int i = 0; i < UNITS5; i++)
#pragma GCC unroll 11
        for (int v = 0; v < V6; v++) sums[v] += ((const float*)m.c5)[i] * w.w6[i][v];
    for (int v = 0; v < V6; v++) m.f6[v] = squash(sums[v]);
}

// The ten bitmaps [10, 84], a row of vectors each; what is beyond the 84 units stays zero.
static void fill(Lanes (*codes)[V6], const float* bitmaps) {
    for (int i = 0; i < CLASSES; i++) memcpy(codes[i], bitmaps + i * UNITS6, UNITS6 * sizeof(float));
}

// The output layer: squared distances of F6 to the ten bitmaps.
static void measure(const Lanes* f6, const Lanes (*bitmaps)[V6], float* distances) {
    for (int i = 0; i < CLASSES; i++) {
        Lanes squares = {};
        for (int v = 0; v < V6; v++) squares += (f6[v] - bitmaps[i][v]) * (f6[v] - bitmaps[i][v]);
        distances[i] = total(squares);
    }
}

// Gradients of the MAP criterion, of distances times `scale`, by the units of F6.
static void criterion(const Lanes* f6, const Lanes (*bitmaps)[V6], int label, float scale, float j, Lanes* gradients) {
    float distances[CLASSES], nearest = j, sum = 0;
    measure(f6, bitmaps, distances);
    for (float& distance : distances) nearest = std::min(nearest, distance *= scale);
    for (float distance : distances) sum += std::exp(nearest - distance);
    sum += std::exp(nearest - j);
    for (int v = 0; v < V6; v++) gradients[v] = Lanes{};
    for (int i = 0; i < CLASSES; i++) {
        float by_distance = (i == label) - std::exp(nearest - distances[i]) / sum;
        for (int v = 0; v < V6; v++) gradients[v] += 2 * scale * by_distance * (f6[v] - bitmaps[i][v]);
    }
}

// Carry gradients by a full connection's sums back to its inputs, and change its weights.
template <int INPUTS, int V>
static void full_connection(Lanes (*weights)[V], const Lanes (*steps)[V], const float* inputs, const Lanes* by_sum,
                            float* by_input) {
    for (int i = 0; i < INPUTS; i++) {
        Lanes sum = {};
#pragma GCC unroll 15
        for (int v = 0; v < V; v++) {
            sum += weights[i][v] * by_sum[v];
            weights[i][v] -= steps[i][v] * (inputs[i] * by_sum[v]);
        }
        by_input[i] = total(sum);
    }
}

static void backward(Weights& w, const Weights& steps, const float (*image)[SIDE0], const Maps& m, Lanes* by_f6) {
    for (int v = 0; v < V6; v++) by_f6[v] *= slope(m.f6[v]);
    Lanes by_c5[V5], by_s4[SIDE4][SIDE4][V3];
    full_connection<UNITS5, V6>(w.w6, steps.w6, (const float*)m.c5, by_f6, (float*)by_c5);
    for (int v = 0; v < V6; v++) w.b6[v] -= steps.b6[v] * by_f6[v];
    for (int v = 0; v < V5; v++) by_c5[v] *= slope(m.c5[v]);
    full_connection<SIDE4 * SIDE4 * MAPS3, V5>(w.w5, steps.w5, (const float*)m.s4, by_c5, (float*)by_s4);
    for (int v = 0; v < V5; v++) w.b5[v] -= steps.b5[v] * by_c5[v];

    Lanes by_c3[SIDE3][SIDE3][V3], by_k4[V3] = {}, by_b4[V3] = {}, by_b3[V3] = {};
    for (int y = 0; y < SIDE4; y++)
        for (int x = 0; x < SIDE4; x++)
            for (int v = 0; v < V3; v++) {
                Lanes by_sum = by_s4[y][x][v] * slope(m.s4[y][x][v]);
                by_k4[v] += by_sum * m.sum4[y][x][v];
                by_b4[v] += by_sum;
                for (int row = 2 * y; row < 2 * y + 2; row++)
                    for (int column = 2 * x; column < 2 * x + 2; column++) {
                        by_c3[row][column][v] = by_sum * w.k4[v] * slope(m.c3[row][column][v]);
                        by_b3[v] += by_c3[row][column][v];
                    }
            }
    // The gradients of C3's inputs first, with the weights as they were, their inputs in the lanes.
    static thread_local Lanes turned[K][K][MAPS3];
    for (int ky = 0; ky < K; ky++)
        for (int kx = 0; kx < K; kx++)
            for (int c = 0; c < MAPS1; c++)
                for (int o = 0; o < MAPS3; o++) ((float*)&turned[ky][kx][o])[c] = ((const float*)w.w3[ky][kx][c])[o];
    Lanes by_s2[SIDE2][SIDE2];
    for (int y = 0; y < SIDE2; y++) {
        Lanes sums[SIDE2] = {};
        for (int ky = std::max(0, y - SIDE3 + 1); ky <= std::min(K - 1, y); ky++)
            for (int o = 0; o < MAPS3; o++)
#pragma GCC unroll 5
                for (int kx = 0; kx < K; kx++)
#pragma GCC unroll 10
                    for (int x = 0; x < SIDE3; x++)
                        sums[x + kx] += ((const float*)by_c3[y - ky][x])[o] * turned[ky][kx][o];
        std::copy(sums, sums + SIDE2, by_s2[y]);
    }
    for (int ky = 0; ky < K; ky++)
        for (int kx = 0; kx < K; kx++) {
            Lanes sums[MAPS1][V3] = {};
            for (int y = 0; y < SIDE3; y++)
                for (int x = 0; x < SIDE3; x++)
#pragma GCC unroll 6
                    for (int c = 0; c < MAPS1; c++)
#pragma GCC unroll 2
                        for (int v = 0; v < V3; v++) sums[c][v] += m.s2[y + ky][x + kx][c] * by_c3[y][x][v];
            for (int c = 0; c < MAPS1; c++)
                for (int v = 0; v < V3; v++) w.w3[ky][kx][c][v] -= steps.w3[ky][kx][c][v] * sums[c][v];
        }
    for (int v = 0; v < V3; v++) {
        w.k4[v] -= steps.k4[v] * by_k4[v];
        w.b4[v] -= steps.b4[v] * by_b4[v];
        w.b3[v] -= steps.b3[v] * by_b3[v];
    }

    Lanes by_c1[SIDE1][SIDE1], by_k2 = {}, by_b2 = {}, by_b1 = {};
    for (int y = 0; y < SIDE2; y++)
        for (int x = 0; x < SIDE2; x++) {
            Lanes by_sum = by_s2[y][x] * slope(m.s2[y][x]);
            by_k2 += by_sum * m.sum2[y][x];
            by_b2 += by_sum;
            for (int row = 2 * y; row < 2 * y + 2; row++)
                for (int column = 2 * x; column < 2 * x + 2; column++) {
                    by_c1[row][column] = by_sum * w.k2 * slope(m.c1[row][column]);
                    by_b1 += by_c1[row][column];
                }
        }
    for (int ky = 0; ky < K; ky++) {
        Lanes sums[2][K] = {};  // even and odd columns apart: more additions at a time
        for (int y = 0; y < SIDE1; y++)
            for (int x = 0; x < SIDE1; x += 2)
#pragma GCC unroll 5
                for (int kx = 0; kx < K; kx++) {
                    sums[0][kx] += image[y + ky][x + kx] * by_c1[y][x];
                    sums[1][kx] += image[y + ky][x + 1 + kx] * by_c1[y][x + 1];
                }
        for (int kx = 0; kx < K; kx++) w.w1[ky][kx] -= steps.w1[ky][kx] * (sums[0][kx] + sums[1][kx]);
    }
    w.b1 -= steps.b1 * by_b1;
    w.k2 -= steps.k2 * by_k2;
    w.b2 -= steps.b2 * by_b2;
}

// Copy between a row of numbers in PyTorch's order and Weights; positions: where each present kernel of C3 stands in the
// dense table of 16 x 6.
template <bool INTO> static void copy(float* row, Weights& w, const long long* positions, int kernels) {
    auto one = [&](Lanes* vectors, int unit) {
        float& ours = ((float*)vectors)[unit];
        if (INTO) ours = *row++;
        else *row++ = ours;
    };
    for (int o = 0; o < MAPS1; o++)
        for (int k = 0; k < K * K; k++) one(&w.w1[k / K][k % K], o);
    for (Lanes* part : {&w.b1, &w.k2, &w.b2})
        for (int o = 0; o < MAPS1; o++) one(part, o);
    for (int i = 0; i < kernels; i++)
        for (int k = 0; k < K * K; k++) one(w.w3[k / K][k % K][positions[i] % MAPS1], positions[i] / MAPS1);
    for (Lanes* part : {w.b3, w.k4, w.b4})
        for (int o = 0; o < MAPS3; o++) one(part, o);
    for (int o = 0; o < UNITS5; o++)
        for (int c = 0; c < MAPS3; c++)
            for (int k = 0; k < SIDE4 * SIDE4; k++) one(w.w5[k * MAPS3 + c], o);
    for (int o = 0; o < UNITS5; o++) one(w.b5, o);
    for (int o = 0; o < UNITS6; o++)
        for (int i = 0; i < UNITS5; i++) one(w.w6[i], o);
    for (int o = 0; o < UNITS6; o++) one(w.b6, o);
}

// Room for weights, steps and maps, all zero, where vectors may begin.
struct Space {
    char* memory = (char*)calloc(2 * sizeof(Weights) + sizeof(Maps) + 64, 1);
    Weights* weights = (Weights*)(memory + 64 - (size_t)memory % 64);
    Weights* steps = weights + 1;
    Maps* maps = (Maps*)(weights + 2);
    ~Space() { free(memory); }
};

extern "C" {

// Show the network the digits order[0], order[1], ... of images [., 32, 32], one after the other, and change `row`, its
// 60,000 weights in PyTorch's order, after each. step_row: their step sizes. bitmaps: [10, 84]. Returns 0, or 1 if there
// is no memory.
int train(float* row, float* step_row, const long long* positions, int kernels, const float* bitmaps,
          const float* images, const long long* labels, const long long* order, long long count, float scale, float j) {
    Space space;
    if (!space.memory) return 1;
    Weights &w = *space.weights, &steps = *space.steps;
    Maps& m = *space.maps;
    copy<true>(row, w, positions, kernels);
    copy<true>(step_row, steps, positions, kernels);
    Lanes codes[CLASSES][V6] = {};
    fill(codes, bitmaps);
    for (long long i = 0; i < count; i++) {
        auto image = (const float(*)[SIDE0])(images + order[i] * SIDE0 * SIDE0);
        forward(w, image, m);
        Lanes by_f6[V6];
        criterion(m.f6, codes, labels[order[i]], scale, j, by_f6);
        backward(w, steps, image, m, by_f6);
    }
    copy<false>(row, w, positions, kernels);
    return 0;
}

// Read images [count, 32, 32] with the weights `row`: classes [count]. Returns 0, or 1 if there is no memory.
int read(float* row, const long long* positions, int kernels, const float* bitmaps, const float* images,
         long long count, long long* classes) {
    Space space;
    if (!space.memory) return 1;
    copy<true>(row, *space.weights, positions, kernels);
    Lanes codes[CLASSES][V6] = {};
    fill(codes, bitmaps);
    for (long long i = 0; i < count; i++) {
        forward(*space.weights, (const float(*)[SIDE0])(images + i * SIDE0 * SIDE0), *space.maps);
        float distances[CLASSES];
        measure(space.maps->f6, codes, distances);
        classes[i] = std::min_element(distances, distances + CLASSES) - distances;
    }
    return 0;
}
}
