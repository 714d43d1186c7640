// Training modern_lenet, plain_lenet or full_lenet on one core: forward, backward and AdamW, step after step, in one call from Python.
//
// As in train_lenet.cpp a vector holds LANES digits. Batch normalisation needs a layer's sums over the whole batch before
// any digit can go on, so here each layer is done for the whole batch, group after group of LANES digits, and what the
// way back needs is kept: 0.9 megabytes a group with 16 lanes.
#include <initializer_list>
#include <utility>
#include <vector>

#include "lanes.h"

constexpr int SIDE = 32, CONNECTIONS = MAPS1 * MAPS3;  // of the image; kernels that C3 can have
constexpr float MOMENTUM = 0.1f, NORM_EPSILON = 1e-5f;  // PyTorch's defaults for batch normalisation

// The network's weights, or a number for each of them; rows of dense layers are filled up to whole vectors.
struct alignas(64) Weights {
    float w1[MAPS1][K * K], b1[MAPS1], factor2[MAPS1], shift2[MAPS1];
    float w3[CONNECTIONS][K * K], b3[MAPS3], factor4[MAPS3], shift4[MAPS3];
    alignas(64) float w5[IN6][IN5];
    float b5[IN6], factor5[IN6], shift5[IN6];
    alignas(64) float w6[IN7][whole_vectors(IN6)];
    float b6[IN7], factor6[IN7], shift6[IN7];
    alignas(64) float w7[CLASSES][whole_vectors(IN7)];
    float b7[CLASSES];
};

// A normalisation: the running mean and variance that PyTorch keeps, and in a step the batch's mean and 1 / deviation,
// and the sums that its way back needs.
template <int CHANNELS> struct Norm {
    float running_mean[CHANNELS], running_variance[CHANNELS];
    float mean[CHANNELS], scale[CHANNELS];
    double sum[CHANNELS], squares[CHANNELS];  // of the inputs
    double back[CHANNELS], back_times[CHANNELS];  // of the outputs' gradients, alone and times the normalised input

    void start() { memset(sum, 0, (char*)(back_times + CHANNELS) - (char*)sum); }

    // From the sums over `count` numbers a channel.
    void settle(double count) {
        for (int c = 0; c < CHANNELS; c++) {
            double middle = sum[c] / count, variance = std::max(0.0, squares[c] / count - middle * middle);
            mean[c] = middle;
            scale[c] = 1 / std::sqrt(variance + NORM_EPSILON);
            running_mean[c] += MOMENTUM * (mean[c] - running_mean[c]);
            running_variance[c] += MOMENTUM * (variance * count / (count - 1) - running_variance[c]);
        }
    }

    // Adds the inputs `cells` of a group to the sums.
    void add(int c, const Lanes* cells, int count) {
        Lanes one = {}, two = {};
        for (int i = 0; i < count; i++) {
            one += cells[i];
            two += cells[i] * cells[i];
        }
        sum[c] += total(one);
        squares[c] += total(two);
    }

    // outputs = SiLU of the normalised inputs times factor plus shift; slopes: its derivative there.
    void apply(int c, float factor, float shift, const Lanes* cells, int count, Lanes* outputs, Lanes* slopes) const {
        float by = factor * scale[c], plus = shift - mean[c] * by;
        for (int i = 0; i < count; i++) silu(cells[i] * by + plus, outputs[i], slopes[i]);
    }

    // gradients, those of the outputs, become those of what SiLU was given.
    void meet(int c, const Lanes* cells, const Lanes* slopes, int count, Lanes* gradients) {
        Lanes one = {}, two = {};
        for (int i = 0; i < count; i++) {
            gradients[i] *= slopes[i];
            one += gradients[i];
            two += gradients[i] * ((cells[i] - mean[c]) * scale[c]);
        }
        back[c] += total(one);
        back_times[c] += total(two);
    }

    // ... and then those of the inputs.
    void pass(int c, float factor, const Lanes* cells, int count, double all, Lanes* gradients) const {
        float by = factor * scale[c], one = back[c] / all, two = back_times[c] / all;
        for (int i = 0; i < count; i++) gradients[i] = by * (gradients[i] - one - two * ((cells[i] - mean[c]) * scale[c]));
    }

    static void silu(Lanes x, Lanes& value, Lanes& slope) {
        Lanes gate = 1 / (1 + exponential(-x));
        value = x * gate;
        slope = gate * (1 + x - value);
    }
};

// LANES digits in every layer: inputs of the normalisations (p, z), activations (s, x), slopes of SiLU, gradients (d).
struct alignas(64) Group {
    Lanes image[SIDE][SIDE], slope1[MAPS1][SIDE1][SIDE1];
    Lanes p2[MAPS1][POOLED1][POOLED1], s2[MAPS1][POOLED1][POOLED1], slope2[MAPS1][POOLED1][POOLED1], d2[MAPS1][POOLED1][POOLED1];
    Lanes slope3[MAPS3][SIDE3][SIDE3];
    Lanes p4[MAPS3][POOLED3 * POOLED3], x5[IN5], slope4[IN5], d5[IN5];
    Lanes z5[IN6], x6[IN6], slope5[IN6], d6[IN6];
    Lanes z6[IN7], x7[IN7], slope6[IN7], d7[IN7];
    Lanes logits[CLASSES];
};

struct Norms {
    Norm<MAPS1> s2;
    Norm<MAPS3> s4;
    Norm<IN6> c5;
    Norm<IN7> f6;
};

// ------------------------------------------------------------------------------------------------------ the layers

// C1 and the average of S2, whose sums are added.
static void c1(Group& g, const Weights& w, Norm<MAPS1>& norm) {
    for (int y = 0; y < SIDE1; y += 2)
        for (int o = 0; o < MAPS1; o += PAIR) {
            Lanes values[2][PAIR][SIDE1];
            for (int row = 0; row < 2; row++)
                for (int part = 0; part < SIDE1; part += STRIP) {
                    Lanes sums[PAIR][STRIP];
                    for (int m = 0; m < PAIR; m++)
                        for (Lanes& sum : sums[m]) sum = Lanes{} + w.b1[o + m];
                    for (int ky = 0; ky < K; ky++)
                        convolve_row<PAIR, STRIP>(sums, g.image[y + row + ky] + part, w.w1[o] + ky * K, K * K);
                    for (int m = 0; m < PAIR; m++)
                        for (int x = 0; x < STRIP; x++)
                            norm.silu(sums[m][x], values[row][m][part + x], g.slope1[o + m][y + row][part + x]);
                }
            for (int m = 0; m < PAIR; m++)
                for (int x = 0; x < POOLED1; x++) g.p2[o + m][y / 2][x] = mean(values[0][m] + 2 * x, values[1][m] + 2 * x);
        }
    for (int o = 0; o < MAPS1; o++) norm.add(o, g.p2[o][0], POOLED1 * POOLED1);
}

// The table of C3: for each map of C3 the maps of S2 that it sees, and the place of the kernel among those that exist.
struct Table {
    std::vector<std::pair<int, int>> seen[MAPS3], sees[MAPS1];  // (map of S2, kernel); (map of C3, kernel)
    explicit Table(const unsigned char* connected) {
        int kernel = 0;
        for (int o = 0; o < MAPS3; o++)
            for (int c = 0; c < MAPS1; c++)
                if (connected[o * MAPS1 + c]) {
                    seen[o].push_back({c, kernel});
                    sees[c].push_back({o, kernel++});
                }
    }
};

// C3 and the average of S4, whose sums are added.
static void c3(Group& g, const Weights& w, const Table& table, Norm<MAPS3>& norm) {
    for (int o = 0; o < MAPS3; o++) {
        for (int y = 0; y < SIDE3; y += 2) {
            Lanes values[2][SIDE3];
            for (int row = 0; row < 2; row++) {
                Lanes sums[1][SIDE3];
                for (Lanes& sum : sums[0]) sum = Lanes{} + w.b3[o];
                for (auto [c, kernel] : table.seen[o])
                    for (int ky = 0; ky < K; ky++) convolve_row<1, SIDE3>(sums, g.s2[c][y + row + ky], w.w3[kernel] + ky * K, 0);
                for (int x = 0; x < SIDE3; x++) norm.silu(sums[0][x], values[row][x], g.slope3[o][y + row][x]);
            }
            for (int x = 0; x < POOLED3; x++) g.p4[o][y / 2 * POOLED3 + x] = mean(values[0] + 2 * x, values[1] + 2 * x);
        }
        norm.add(o, g.p4[o], POOLED3 * POOLED3);
    }
}

// The gradients of C3's weights, and of its inputs, from those of the averages in S4, g.d5.
static void c3_back(Group& g, const Weights& w, const Table& table, Weights& gradients) {
    static thread_local Lanes d3[MAPS3][SIDE3][SIDE3];
    for (int o = 0; o < MAPS3; o++) {
        Lanes sum = {};
        for (int y = 0; y < SIDE3; y++)
            for (int x = 0; x < SIDE3; x++)
                sum += d3[o][y][x] = 0.25f * g.d5[(o * POOLED3 + y / 2) * POOLED3 + x / 2] * g.slope3[o][y][x];
        gradients.b3[o] += total(sum);
    }
    for (int c = 0; c < MAPS1; c++) {
        for (auto [o, kernel] : table.sees[c])
            for (int ky = 0; ky < K; ky++) {
                Lanes sums[1][K] = {};
                for (int y = 0; y < SIDE3; y++) weight_row<1, SIDE3>(sums, d3[o][y], 0, g.s2[c][y + ky]);
                for (int k = 0; k < K; k++) gradients.w3[kernel][ky * K + k] += total(sums[0][k]);
            }
        for (int y = 0; y < POOLED1; y++) {
            Lanes sums[1][POOLED1] = {};
            for (auto [o, kernel] : table.sees[c])
                for (int ky = std::max(0, y - SIDE3 + 1); ky <= std::min(K - 1, y); ky++)
                    spread_row<1, SIDE3>(sums, d3[o][y - ky], w.w3[kernel] + ky * K, 0);
            std::copy(sums[0], sums[0] + POOLED1, g.d2[c][y]);
        }
    }
}

// The gradients of C1's weights from those of the averages in S2, g.d2; nobody needs those of the image.
static void c1_back(const Group& g, Weights& gradients) {
    Lanes weights[MAPS1][K * K] = {}, biases[MAPS1] = {};
    for (int y = 0; y < SIDE1; y += 2) {
        Lanes d1[MAPS1][2][SIDE1];
        for (int o = 0; o < MAPS1; o++)
            for (int row = 0; row < 2; row++)
                for (int x = 0; x < SIDE1; x++)
                    biases[o] += d1[o][row][x] = 0.25f * g.d2[o][y / 2][x / 2] * g.slope1[o][y + row][x];
        for (int o = 0; o < MAPS1; o += C1_MAPS)
            for (int ky = 0; ky < K; ky++) {
                Lanes sums[C1_MAPS][K] = {};
                for (int row = 0; row < 2; row++)
                    for (int part = 0; part < SIDE1; part += STRIP)
                        weight_row<C1_MAPS, STRIP>(sums, d1[o][row] + part, 2 * SIDE1, g.image[y + row + ky] + part);
                for (int m = 0; m < C1_MAPS; m++)
                    for (int k = 0; k < K; k++) weights[o + m][ky * K + k] += sums[m][k];
            }
    }
    for (int o = 0; o < MAPS1; o++) {
        gradients.b1[o] += total(biases[o]);
        for (int k = 0; k < K * K; k++) gradients.w1[o][k] += total(weights[o][k]);
    }
}

// Softmax and cross-entropy with probabilities for targets, LANES rows of ten; logits become their gradients, for the mean
// over the batch. Returns the sum of the losses.
static double cross_entropy(Lanes (&logits)[CLASSES], const float* const* targets, int batch_size) {
    Lanes largest = logits[0], sum = {}, probability[CLASSES];
    for (Lanes logit : logits) largest = larger(largest, logit);
    for (int c = 0; c < CLASSES; c++) sum += probability[c] = exponential(logits[c] - largest);
    double loss = 0;
    for (int i = 0; i < LANES; i++)
        for (int c = 0; c < CLASSES; c++) {
            loss += targets[i][c] * (std::log(sum[i]) + largest[i] - logits[c][i]);
            logits[c][i] = (probability[c][i] / sum[i] - targets[i][c]) / batch_size;
        }
    return loss;
}

// ----------------------------------------------------------------------------------------------------- the training

// What a dense layer saw and what came back to it, a row a digit; and from both the gradients of its weights.
template <int OUT, int IN, int WIDE> struct Rows {
    static constexpr int OUT_WIDE = whole_vectors(OUT);
    float *in, *out;
    std::vector<float> memory;
    explicit Rows(int digits) : memory((size_t)digits * (WIDE + OUT_WIDE) + 16) {
        in = (float*)(((size_t)memory.data() + 63) / 64 * 64);
        out = in + (size_t)digits * WIDE;
    }
    void take(const Lanes* inputs, const Lanes* gradients, int first) {
        to_rows(inputs, IN, in + (size_t)first * WIDE, WIDE);
        to_rows(gradients, OUT, out + (size_t)first * OUT_WIDE, OUT_WIDE);
    }
    void sum(int digits, float (&weights)[OUT][WIDE], float* bias) const {
        constexpr int R = OUT % DENSE_ROWS ? 2 : DENSE_ROWS;
        constexpr int C = WIDE % (5 * LANES) == 0 ? 5 : WIDE % (4 * LANES) == 0 ? 4 : 3;
        static_assert(OUT % R == 0 && WIDE % (C * LANES) == 0, "whole blocks");
        for (int digit = 0; digit < digits; digit++)
            for (int o = 0; o < OUT; o++) bias[o] += out[(size_t)digit * OUT_WIDE + o];
        for (int o = 0; o < OUT; o += R)
            for (int i = 0; i < WIDE; i += C * LANES) {
                Lanes sums[R][C] = {};
                weight_block(sums, in + i, WIDE, out + o, OUT_WIDE, digits);
                for (int r = 0; r < R; r++) memcpy(&weights[o + r][i], sums[r], sizeof sums[r]);
            }
    }
};

struct Training {
    Weights weights = {}, first = {}, second = {};
    Norms norms = {};
    Table table;
    bool plain;  // C5 and F6 have no biases, and their normalisations neither factors nor shifts
    Training(const unsigned char* connected, bool plain) : table(connected), plain(plain) {}
    void make_plain() {
        for (float* zeros : {weights.b5, weights.shift5}) std::fill(zeros, zeros + IN6, 0.0f);
        for (float* zeros : {weights.b6, weights.shift6}) std::fill(zeros, zeros + IN7, 0.0f);
        std::fill(weights.factor5, weights.factor5 + IN6, 1.0f);
        std::fill(weights.factor6, weights.factor6 + IN7, 1.0f);
    }
};

struct Scratch {
    int batch_size;
    std::vector<Group> groups;
    Rows<IN6, IN5, IN5> c5;
    Rows<IN7, IN6, whole_vectors(IN6)> f6;
    Rows<CLASSES, IN7, whole_vectors(IN7)> output;
    explicit Scratch(int size) : batch_size(size), groups(size / LANES), c5(size), f6(size), output(size) {}
};

// The gradients of a batch; returns the sum of its losses.
static double find_gradients(Training& t, Scratch& s, const unsigned char* images, const float* targets,
                             const long long* digits, float ink, float paper, Weights& gradients) {
    const Weights& w = t.weights;
    memset(&gradients, 0, sizeof gradients);
    auto& [s2, s4, c5, f6] = t.norms;
    s2.start(), s4.start(), c5.start(), f6.start();
    constexpr int CELLS2 = POOLED1 * POOLED1, CELLS4 = POOLED3 * POOLED3;
    const int batch = s.batch_size;
    double loss = 0;

    for (size_t group = 0; group < s.groups.size(); group++) {
        Group& g = s.groups[group];
        for (int i = 0; i < LANES; i++) {
            const unsigned char* image = images + digits[group * LANES + i] * SIDE * SIDE;
            for (int p = 0; p < SIDE * SIDE; p++) ((float*)(g.image[0] + p))[i] = paper + image[p] * (ink - paper) / 255;
        }
        c1(g, w, s2);
    }
    s2.settle((double)batch * CELLS2);
    for (Group& g : s.groups) {
        for (int c = 0; c < MAPS1; c++) s2.apply(c, w.factor2[c], w.shift2[c], g.p2[c][0], CELLS2, g.s2[c][0], g.slope2[c][0]);
        c3(g, w, t.table, s4);
    }
    s4.settle((double)batch * CELLS4);
    for (Group& g : s.groups) {
        for (int c = 0; c < MAPS3; c++)
            s4.apply(c, w.factor4[c], w.shift4[c], g.p4[c], CELLS4, g.x5 + c * CELLS4, g.slope4 + c * CELLS4);
        dense<IN6, IN5>(g.x5, w.w5, w.b5, g.z5);
        for (int c = 0; c < IN6; c++) c5.add(c, g.z5 + c, 1);
    }
    c5.settle(batch);
    for (Group& g : s.groups) {
        for (int c = 0; c < IN6; c++) c5.apply(c, w.factor5[c], w.shift5[c], g.z5 + c, 1, g.x6 + c, g.slope5 + c);
        dense<IN7, IN6>(g.x6, w.w6, w.b6, g.z6);
        for (int c = 0; c < IN7; c++) f6.add(c, g.z6 + c, 1);
    }
    f6.settle(batch);

    for (size_t group = 0; group < s.groups.size(); group++) {
        Group& g = s.groups[group];
        for (int c = 0; c < IN7; c++) f6.apply(c, w.factor6[c], w.shift6[c], g.z6 + c, 1, g.x7 + c, g.slope6 + c);
        dense<CLASSES, IN7>(g.x7, w.w7, w.b7, g.logits);
        const float* wanted[LANES];
        for (int i = 0; i < LANES; i++) wanted[i] = targets + digits[group * LANES + i] * CLASSES;
        loss += cross_entropy(g.logits, wanted, batch);
        dense_back<CLASSES, IN7>(g.logits, w.w7, g.d7);
        s.output.take(g.x7, g.logits, group * LANES);
        for (int c = 0; c < IN7; c++) f6.meet(c, g.z6 + c, g.slope6 + c, 1, g.d7 + c);
    }
    for (size_t group = 0; group < s.groups.size(); group++) {
        Group& g = s.groups[group];
        for (int c = 0; c < IN7; c++) f6.pass(c, w.factor6[c], g.z6 + c, 1, batch, g.d7 + c);
        dense_back<IN7, IN6>(g.d7, w.w6, g.d6);
        s.f6.take(g.x6, g.d7, group * LANES);
        for (int c = 0; c < IN6; c++) c5.meet(c, g.z5 + c, g.slope5 + c, 1, g.d6 + c);
    }
    for (size_t group = 0; group < s.groups.size(); group++) {
        Group& g = s.groups[group];
        for (int c = 0; c < IN6; c++) c5.pass(c, w.factor5[c], g.z5 + c, 1, batch, g.d6 + c);
        dense_back<IN6, IN5>(g.d6, w.w5, g.d5);
        s.c5.take(g.x5, g.d6, group * LANES);
        for (int c = 0; c < MAPS3; c++) s4.meet(c, g.p4[c], g.slope4 + c * CELLS4, CELLS4, g.d5 + c * CELLS4);
    }
    for (Group& g : s.groups) {
        for (int c = 0; c < MAPS3; c++) s4.pass(c, w.factor4[c], g.p4[c], CELLS4, (double)batch * CELLS4, g.d5 + c * CELLS4);
        c3_back(g, w, t.table, gradients);
        for (int c = 0; c < MAPS1; c++) s2.meet(c, g.p2[c][0], g.slope2[c][0], CELLS2, g.d2[c][0]);
    }
    for (Group& g : s.groups) {
        for (int c = 0; c < MAPS1; c++) s2.pass(c, w.factor2[c], g.p2[c][0], CELLS2, (double)batch * CELLS2, g.d2[c][0]);
        c1_back(g, gradients);
    }

    auto settle = [](const double* back, const double* times, int count, float* shifts, float* factors) {
        std::copy(back, back + count, shifts);
        std::copy(times, times + count, factors);
    };
    settle(s2.back, s2.back_times, MAPS1, gradients.shift2, gradients.factor2);
    settle(s4.back, s4.back_times, MAPS3, gradients.shift4, gradients.factor4);
    settle(c5.back, c5.back_times, IN6, gradients.shift5, gradients.factor5);
    settle(f6.back, f6.back_times, IN7, gradients.shift6, gradients.factor6);
    s.c5.sum(batch, gradients.w5, gradients.b5);
    s.f6.sum(batch, gradients.w6, gradients.b6);
    s.output.sum(batch, gradients.w7, gradients.b7);
    return loss;
}

static double step(Training& t, Scratch& s, const unsigned char* images, const float* targets, const long long* digits,
                   float ink, float paper, const Optimizer& by) {
    static thread_local Weights gradients;
    double loss = find_gradients(t, s, images, targets, digits, ink, paper, gradients);
    float *first = (float*)&t.first, *second = (float*)&t.second;
    by.change((float*)&t.weights, (const float*)&gradients, first, second, sizeof(Weights) / sizeof(float));
    if (t.plain) t.make_plain();
    return loss;
}

// Copies between a Weights (or its moments) and the tensors that PyTorch lists: 18, or 12 without those of make_plain.
static void exchange(Weights& kept, float* const* tensors, int kernels, bool plain, bool back) {
    auto copy = [&](float* one, int one_wide, int wide, int rows) {
        float* other = *tensors++;
        for (int row = 0; row < rows; row++)
            memcpy(back ? other + row * wide : one + row * one_wide, back ? one + row * one_wide : other + row * wide, 4 * wide);
    };
    auto vectors = [&](int count, std::initializer_list<float*> all) {
        for (float* one : all) copy(one, count, count, 1);
    };
    copy(kept.w1[0], K * K, K * K, MAPS1);
    vectors(MAPS1, {kept.b1, kept.factor2, kept.shift2});
    copy(kept.w3[0], K * K, K * K, kernels);
    vectors(MAPS3, {kept.b3, kept.factor4, kept.shift4});
    copy(kept.w5[0], IN5, IN5, IN6);
    if (!plain) vectors(IN6, {kept.b5, kept.factor5, kept.shift5});
    copy(kept.w6[0], whole_vectors(IN6), IN6, IN7);
    if (!plain) vectors(IN7, {kept.b6, kept.factor6, kept.shift6});
    copy(kept.w7[0], whole_vectors(IN7), IN7, CLASSES);
    vectors(CLASSES, {kept.b7});
}

extern "C" {

int lanes() { return LANES; }

// images uint8 [., 32, 32], grey 0 becomes `paper` and 255 `ink`; targets float [., 10], probabilities; order [steps *
// batch_size]: places of digits in both; connected [16, 6]: C3's table; parameters, first, second: pointers as PyTorch
// lists the weights, and to their moments; running: eight pointers, mean and variance of the four normalisations; all
// these are changed in place. lrs [steps]; rates: decay, beta1, beta2, epsilon; done: steps before these. Returns the
// sum of the losses.
double train(const unsigned char* images, const float* targets, const long long* order, int steps, int batch_size,
             const unsigned char* connected, int plain, float* const* parameters, float* const* first, float* const* second,
             float* const* running, float ink, float paper, const float* lrs, const float* rates, long long done) {
    std::vector<Training> kept(1, Training(connected, plain));
    Training& t = kept[0];
    Scratch scratch(batch_size);
    const int kernels = std::count(connected, connected + CONNECTIONS, 1);
    auto all = [&](bool back) {
        exchange(t.weights, parameters, kernels, plain, back);
        exchange(t.first, first, kernels, plain, back);
        exchange(t.second, second, kernels, plain, back);
        float* const* next = running;
        auto copy = [&](auto& norm) {
            for (float* here : {norm.running_mean, norm.running_variance}) {
                memcpy(back ? *next : here, back ? here : *next, sizeof norm.running_mean);
                next++;
            }
        };
        copy(t.norms.s2), copy(t.norms.s4), copy(t.norms.c5), copy(t.norms.f6);
    };
    all(false);
    if (plain) t.make_plain();
    double loss = 0;
    for (int i = 0; i < steps; i++) {
        double number = done + i + 1;
        Optimizer by{lrs[i], rates[0], rates[1], rates[2], rates[3], float(1 - std::pow((double)rates[1], number)),
                     float(std::sqrt(1 - std::pow((double)rates[2], number)))};
        loss += step(t, scratch, images, targets, order + (long long)i * batch_size, ink, paper, by);
    }
    all(true);
    return loss;
}
}
