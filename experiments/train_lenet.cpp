// Training LeNet on a CPU: forward, backward and update of all five layers, step after step, in one call from Python.
//
// A vector holds LANES digits, one a lane (lanes.h). A thread takes LANES digits at a time through the network and back, a megabyte of
// numbers with 16 lanes. The gradients of the dense layers wait until the whole batch is through; then each thread makes
// some rows of them and changes the weights at once.
//
// own_kernel.py compiles this file and calls it; the order of the layers and of their weights is PyTorch's.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "lanes.h"

// The network's weights, or a number kept for each of them; rows of dense layers are filled up to whole vectors.
struct alignas(64) Weights {
    float w1[MAPS1][K * K], b1[MAPS1], w3[MAPS3][MAPS1 * K * K], b3[MAPS3];
    alignas(64) float w5[IN6][IN5];
    alignas(64) float w6[IN7][whole_vectors(IN6)];
    alignas(64) float w7[CLASSES][whole_vectors(IN7)];
    float b5[IN6], b6[IN7], b7[CLASSES];
};

// Where a thread's time goes, in the order in which own_kernel.py names the parts.
enum Part { C1_FORWARD, C3_FORWARD, DENSE, C3_BACKWARD, C1_BACKWARD, CHANGE, WAIT, PARTS };
struct Clock {
    double seconds[PARTS];
    std::chrono::steady_clock::time_point last;
    void start() { last = std::chrono::steady_clock::now(); }
    void stop(Part part) {
        auto now = std::chrono::steady_clock::now();
        seconds[part] += std::chrono::duration<double>(now - last).count();
        last = now;
    }
};

// One thread's numbers: what its LANES digits are in each layer, the gradients there, and sums for C1 and C3.
struct alignas(64) Work {
    Lanes image[SIDE1 + 4][SIDE1 + 4];  // with the two zeros of padding at each side
    Lanes c1[MAPS1][SIDE1][SIDE1], s2[MAPS1][POOLED1][POOLED1], c3[MAPS3][SIDE3][SIDE3];
    Lanes x5[IN5], x6[IN6], x7[IN7], logits[CLASSES];
    Lanes d5[IN5], d6[IN6], d7[IN7];  // gradients of those
    Lanes d3[MAPS3][SIDE3][SIDE3], d2[MAPS1][POOLED1][POOLED1], d1[MAPS1][2][SIDE1];
    Lanes w1[MAPS1][K * K], b1[MAPS1], w3[MAPS3][MAPS1 * K * K], b3[MAPS3];
    float total_w1[MAPS1][K * K], total_b1[MAPS1], total_w3[MAPS3][MAPS1 * K * K], total_b3[MAPS3];
    double loss;
    long long correct;
    Clock clock;
};

// Threads wait here for each other: a moment in a loop, since most are nearly as fast, then they offer their core.
struct Barrier {
    const int threads;
    std::atomic<int> waiting{0}, round{0};
    explicit Barrier(int threads) : threads(threads) {}
    void wait() {
        int now = round.load();
        if (waiting.fetch_add(1) + 1 == threads) {
            waiting = 0;
            round.fetch_add(1);
        } else
            for (int turn = 0; round.load() == now; turn++)
                if (turn > 2000) std::this_thread::yield();
    }
};

// ---------------------------------------------------------------------------------------------------- the pieces

// The activations; the slope of each is found from its value.
struct Sigmoid {
    static Lanes activate(Lanes x) { return 1 / (1 + exponential(-x)); }
    static Lanes slope(Lanes value) { return value * (1 - value); }
};

struct Relu {
    static Lanes activate(Lanes x) { return x < Lanes{} ? Lanes{} : x; }  // what is no number stays none
    static Lanes slope(Lanes value) { return value > Lanes{} ? Lanes{} + 1 : Lanes{}; }
};

// ---------------------------------------------------------------------------------------------------- the update

// What the dense layers saw and what came back to them, a row a digit.
struct Batch {
    int rows;
    std::vector<float> memory;
    float *x5, *x6, *x7, *d6, *d7, *dlogits;
    static constexpr int WIDE6 = whole_vectors(IN6), WIDE7 = whole_vectors(IN7), WIDE8 = whole_vectors(CLASSES);
    explicit Batch(int size) : rows(whole_vectors(size)), memory((size_t)rows * (IN5 + 2 * WIDE6 + 2 * WIDE7 + WIDE8) + 16) {
        float* next = (float*)(((size_t)memory.data() + 63) / 64 * 64);
        for (auto [pointer, wide] : {std::pair{&x5, IN5}, {&x6, WIDE6}, {&d6, WIDE6}, {&x7, WIDE7}, {&d7, WIDE7}, {&dlogits, WIDE8}}) {
            *pointer = next;
            next += (size_t)rows * wide;
        }
    }
};

// The weights' gradients of a dense layer, from all digits, and its update: R rows by C vectors at a time, and of these
// blocks every `threads`th.
template <int C, int OUT, int WIDE>
static void change_dense(const float* in, const float* out, int out_wide, int digits, float (&weights)[OUT][WIDE], float* bias,
                         Weights* first, Weights* second, const float* base, const Optimizer& by, int thread, int threads) {
    constexpr int R = OUT % DENSE_ROWS ? 2 : DENSE_ROWS;
    static_assert(OUT % R == 0 && WIDE % (C * LANES) == 0, "whole blocks");
    // Where the moments of a weight are: at the same place in their own Weights.
    auto moment = [&](Weights* kept, float* weight) { return kept ? (float*)kept + (weight - base) : nullptr; };
    constexpr int ACROSS = WIDE / (C * LANES);
    for (int block = thread; block < OUT / R * ACROSS; block += threads) {
        int o = block / ACROSS * R, i = block % ACROSS * C * LANES;
        Lanes sums[R][C] = {};
        weight_block(sums, in + i, WIDE, out + o, out_wide, digits);
        for (int r = 0; r < R; r++) {
            float* changed = &weights[o + r][i];
            by.change(changed, (const float*)sums[r], moment(first, changed), moment(second, changed), C * LANES);
            if (i) continue;
            float sum = 0;
            for (int digit = 0; digit < digits; digit++) sum += out[(size_t)digit * out_wide + o + r];
            by.change(bias + o + r, &sum, moment(first, bias + o + r), moment(second, bias + o + r), 1);
        }
    }
}

// ---------------------------------------------------------------------------------------------------- one block

// LANES digits, or the `here` first of them, through the network and back.
template <class Activation>
static void through(Work& s, const Weights& w, Batch& batch, const float* images, const long long* labels,
                    const long long* digits, int first, int here, int batch_size) {
    for (int y = 0; y < SIDE1; y++)
        for (int i = 0; i < LANES; i++) {
            const float* row = i < here ? images + (digits[first + i] * SIDE1 + y) * SIDE1 : nullptr;
            for (int x = 0; x < SIDE1; x++) ((float*)&s.image[y + 2][x + 2])[i] = row ? row[x] : 0;
        }

    for (int y = 0; y < SIDE1; y += 2)
        for (int o = 0; o < MAPS1; o += PAIR) {
            for (int row = y; row < y + 2; row++)
                for (int part = 0; part < SIDE1; part += STRIP) {
                    Lanes sums[PAIR][STRIP];
                    for (int m = 0; m < PAIR; m++)
                        for (Lanes& sum : sums[m]) sum = Lanes{} + w.b1[o + m];
                    for (int ky = 0; ky < K; ky++)
                        convolve_row<PAIR, STRIP>(sums, s.image[row + ky] + part, w.w1[o] + ky * K, K * K);
                    for (int m = 0; m < PAIR; m++)
                        for (int x = 0; x < STRIP; x++) s.c1[o + m][row][part + x] = Activation::activate(sums[m][x]);
                }
            for (int m = o; m < o + PAIR; m++)
                for (int x = 0; x < POOLED1; x++)
                    s.s2[m][y / 2][x] = mean(s.c1[m][y] + 2 * x, s.c1[m][y + 1] + 2 * x);
        }

    s.clock.stop(C1_FORWARD);

    for (int y = 0; y < SIDE3; y++)
        for (int o = 0; o < MAPS3; o += PAIR) {
            Lanes sums[PAIR][SIDE3];
            for (int m = 0; m < PAIR; m++)
                for (Lanes& sum : sums[m]) sum = Lanes{} + w.b3[o + m];
            for (int c = 0; c < MAPS1; c++)
                for (int ky = 0; ky < K; ky++)
                    convolve_row<PAIR, SIDE3>(sums, s.s2[c][y + ky], w.w3[o] + (c * K + ky) * K, MAPS1 * K * K);
            for (int m = 0; m < PAIR; m++)
                for (int x = 0; x < SIDE3; x++) s.c3[o + m][y][x] = Activation::activate(sums[m][x]);
        }

    for (int o = 0; o < MAPS3; o++)
        for (int y = 0; y < POOLED3; y++)
            for (int x = 0; x < POOLED3; x++)
                s.x5[(o * POOLED3 + y) * POOLED3 + x] = mean(s.c3[o][2 * y] + 2 * x, s.c3[o][2 * y + 1] + 2 * x);

    s.clock.stop(C3_FORWARD);

    dense<IN6, IN5>(s.x5, w.w5, w.b5, s.x6);
    for (Lanes& value : s.x6) value = Activation::activate(value);
    dense<IN7, IN6>(s.x6, w.w6, w.b6, s.x7);
    for (Lanes& value : s.x7) value = Activation::activate(value);
    dense<CLASSES, IN7>(s.x7, w.w7, w.b7, s.logits);

    // Softmax and cross-entropy, whose gradient is the probability, less one for the label's class.
    Lanes largest = s.logits[0], sum = {};
    for (Lanes logit : s.logits) largest = larger(largest, logit);
    for (int i = 0; i < here; i++) {
        int answer = 0;
        while (s.logits[answer][i] != largest[i] && answer < CLASSES - 1) answer++;
        s.correct += answer == labels[digits[first + i]];
    }
    Lanes probability[CLASSES];
    for (int c = 0; c < CLASSES; c++) sum += probability[c] = exponential(s.logits[c] - largest);
    for (int c = 0; c < CLASSES; c++) probability[c] /= sum * (float)batch_size;
    for (int i = 0; i < LANES; i++) {
        if (i < here) {
            long long label = labels[digits[first + i]];
            s.loss += std::log(sum[i]) - (s.logits[label][i] - largest[i]);
            probability[label][i] -= 1.0f / batch_size;
        } else
            for (Lanes& part : probability) part[i] = 0;
    }

    dense_back<CLASSES, IN7>(probability, w.w7, s.d7);
    for (int i = 0; i < IN7; i++) s.d7[i] *= Activation::slope(s.x7[i]);
    dense_back<IN7, IN6>(s.d7, w.w6, s.d6);
    for (int i = 0; i < IN6; i++) s.d6[i] *= Activation::slope(s.x6[i]);
    dense_back<IN6, IN5>(s.d6, w.w5, s.d5);
    to_rows(s.x5, IN5, batch.x5 + (size_t)first * IN5, IN5);
    to_rows(s.x6, IN6, batch.x6 + (size_t)first * Batch::WIDE6, Batch::WIDE6);
    to_rows(s.d6, IN6, batch.d6 + (size_t)first * Batch::WIDE6, Batch::WIDE6);
    to_rows(s.x7, IN7, batch.x7 + (size_t)first * Batch::WIDE7, Batch::WIDE7);
    to_rows(s.d7, IN7, batch.d7 + (size_t)first * Batch::WIDE7, Batch::WIDE7);
    to_rows(probability, CLASSES, batch.dlogits + (size_t)first * Batch::WIDE8, Batch::WIDE8);

    s.clock.stop(DENSE);

    // S4 and C3's activation; C3's weights; its inputs.
    for (int o = 0; o < MAPS3; o++)
        for (int y = 0; y < SIDE3; y++)
            for (int x = 0; x < SIDE3; x++) {
                Lanes above = 0.25f * s.d5[(o * POOLED3 + y / 2) * POOLED3 + x / 2];
                s.d3[o][y][x] = above * Activation::slope(s.c3[o][y][x]);
                s.b3[o] += s.d3[o][y][x];
            }
    for (int o = 0; o < MAPS3; o += C3_MAPS)
        for (int c = 0; c < MAPS1; c++)
            for (int ky = 0; ky < K; ky++) {
                Lanes sums[C3_MAPS][K] = {};
                for (int y = 0; y < SIDE3; y++)
                    weight_row<C3_MAPS, SIDE3>(sums, s.d3[o][y], SIDE3 * SIDE3, s.s2[c][y + ky]);
                for (int m = 0; m < C3_MAPS; m++)
                    for (int k = 0; k < K; k++) s.w3[o + m][(c * K + ky) * K + k] += sums[m][k];
            }
    for (int y = 0; y < POOLED1; y++)
        for (int c = 0; c < MAPS1; c += PAIR) {
            Lanes sums[PAIR][POOLED1] = {};
            for (int o = 0; o < MAPS3; o++)
                for (int ky = std::max(0, y - SIDE3 + 1); ky <= std::min(K - 1, y); ky++)
                    spread_row<PAIR, SIDE3>(sums, s.d3[o][y - ky], w.w3[o] + (c * K + ky) * K, K * K);
            for (int m = 0; m < PAIR; m++) std::copy(sums[m], sums[m] + POOLED1, s.d2[c + m][y]);
        }

    s.clock.stop(C3_BACKWARD);

    // S2, C1's activation and C1's weights, two rows at a time; nobody needs the gradients of the image.
    for (int y = 0; y < SIDE1; y += 2) {
        for (int o = 0; o < MAPS1; o++)
            for (int row = 0; row < 2; row++)
                for (int x = 0; x < SIDE1; x++) {
                    Lanes above = 0.25f * s.d2[o][y / 2][x / 2];
                    s.d1[o][row][x] = above * Activation::slope(s.c1[o][y + row][x]);
                    s.b1[o] += s.d1[o][row][x];
                }
        for (int o = 0; o < MAPS1; o += C1_MAPS)
            for (int ky = 0; ky < K; ky++) {
                Lanes sums[C1_MAPS][K] = {};
                for (int row = 0; row < 2; row++)
                    for (int part = 0; part < SIDE1; part += STRIP)
                        weight_row<C1_MAPS, STRIP>(sums, s.d1[o][row] + part, 2 * SIDE1, s.image[y + row + ky] + part);
                for (int m = 0; m < C1_MAPS; m++)
                    for (int k = 0; k < K; k++) s.w1[o + m][ky * K + k] += sums[m][k];
            }
    }
    s.clock.stop(C1_BACKWARD);
}

// ---------------------------------------------------------------------------------------------------- the training

struct Training {
    const float* images;
    const long long *labels, *order;
    int steps, batch_size;
    Weights *weights, *first, *second;  // the moments: null for gradient descent
    const float* lrs;
    float decay, beta1, beta2, epsilon;
    long long done;  // steps taken before, for AdamW's corrections
};

template <class Activation> static void work(const Training& t, Batch& batch, std::vector<Work>& of_threads, Barrier& barrier, int thread) {
    int threads = of_threads.size();
    Work& s = of_threads[thread];
    Weights& w = *t.weights;
    s.clock.start();
    for (int step = 0; step < t.steps; step++) {
        const long long* digits = t.order + (long long)step * t.batch_size;
        memset(s.w1, 0, (char*)s.total_w1 - (char*)s.w1);
        for (int first = thread * LANES; first < t.batch_size; first += threads * LANES)
            through<Activation>(s, w, batch, t.images, t.labels, digits, first, std::min(LANES, t.batch_size - first), t.batch_size);
        const Lanes* sums = &s.w1[0][0];
        float* totals = &s.total_w1[0][0];
        constexpr int COUNT = MAPS1 * (K * K + 1) + MAPS3 * (MAPS1 * K * K + 1);
        for (int i = 0; i < COUNT; i++) totals[i] = total(sums[i]);
        s.clock.stop(CHANGE);
        barrier.wait();
        s.clock.stop(WAIT);

        double number = t.done + step + 1;
        Optimizer by{t.lrs[step], t.decay, t.beta1, t.beta2, t.epsilon, float(1 - std::pow((double)t.beta1, number)),
                     float(std::sqrt(1 - std::pow((double)t.beta2, number)))};
        const float* base = (const float*)&w;
        change_dense<5>(batch.x5, batch.d6, Batch::WIDE6, t.batch_size, w.w5, w.b5, t.first, t.second, base, by, thread, threads);
        change_dense<4>(batch.x6, batch.d7, Batch::WIDE7, t.batch_size, w.w6, w.b6, t.first, t.second, base, by, thread, threads);
        change_dense<3>(batch.x7, batch.dlogits, Batch::WIDE8, t.batch_size, w.w7, w.b7, t.first, t.second, base, by, thread, threads);
        if (thread == threads - 1) {  // the threads' sums one after the other: the same result every time
            for (int other = 0; other < threads - 1; other++)
                for (int i = 0; i < COUNT; i++) totals[i] += (&of_threads[other].total_w1[0][0])[i];
            float *first = (float*)t.first, *second = (float*)t.second;
            by.change((float*)&w, totals, first, second, COUNT);
        }
        s.clock.stop(CHANGE);
        barrier.wait();
        s.clock.stop(WAIT);
    }
}

// Copies the ten parameters into `kept`, or back.
static void exchange(Weights& kept, float* const* parameters, bool back) {
    auto copy = [&](float* one, int one_wide, float* other, int other_wide, int rows) {
        for (int row = 0; row < rows; row++)
            memcpy(back ? other + row * other_wide : one + row * one_wide,
                   back ? one + row * one_wide : other + row * other_wide, 4 * other_wide);
    };
    copy(kept.w1[0], K * K, parameters[0], K * K, MAPS1);
    copy(kept.b1, MAPS1, parameters[1], MAPS1, 1);
    copy(kept.w3[0], MAPS1 * K * K, parameters[2], MAPS1 * K * K, MAPS3);
    copy(kept.b3, MAPS3, parameters[3], MAPS3, 1);
    copy(kept.w5[0], IN5, parameters[4], IN5, IN6);
    copy(kept.b5, IN6, parameters[5], IN6, 1);
    copy(kept.w6[0], Batch::WIDE6, parameters[6], IN6, IN7);
    copy(kept.b6, IN7, parameters[7], IN7, 1);
    copy(kept.w7[0], Batch::WIDE7, parameters[8], IN7, CLASSES);
    copy(kept.b7, CLASSES, parameters[9], CLASSES, 1);
}

extern "C" {

int lanes() { return LANES; }

// Numbers in a Weights: AdamW keeps two of them.
long long state_size() { return sizeof(Weights) / sizeof(float); }

// images [., 28, 28] and labels [.]; order [steps * batch_size]: places of digits in them; parameters: ten pointers, as
// PyTorch lists them, changed in place; moments: AdamW's [2, state_size], or null for gradient descent; lrs [steps];
// rates: decay, beta1, beta2, epsilon; done: steps before these; sums: becomes the losses' sum and the right answers;
// seconds [PARTS]: the threads' mean time in each part is added.
void train(int relu, const float* images, const long long* labels, const long long* order, int steps, int batch_size,
           float* const* parameters, float* moments, const float* lrs, const float* rates, long long done, int threads,
           double* sums, double* seconds) {
    std::vector<Weights> kept(1);
    exchange(kept[0], parameters, false);
    Weights *first = (Weights*)moments, *second = first ? first + 1 : nullptr;
    Training training{images, labels, order, steps, batch_size, &kept[0], first, second, lrs,
                      rates[0], rates[1], rates[2], rates[3], done};
    Batch batch(batch_size);
    threads = std::min(threads, (batch_size + LANES - 1) / LANES);
    std::vector<Work> of_threads(threads);
    Barrier barrier(threads);
    std::vector<std::thread> others;
    auto run = relu ? work<Relu> : work<Sigmoid>;
    for (int thread = 1; thread < threads; thread++)
        others.emplace_back(run, std::cref(training), std::ref(batch), std::ref(of_threads), std::ref(barrier), thread);
    run(training, batch, of_threads, barrier, 0);
    for (std::thread& other : others) other.join();
    exchange(kept[0], parameters, true);
    sums[0] = sums[1] = 0;
    for (const Work& s : of_threads) {
        sums[0] += s.loss;
        sums[1] += s.correct;
        for (int part = 0; part < PARTS; part++) seconds[part] += s.clock.seconds[part] / threads;
    }
}

// Multiplies and adds in registers alone, work() operations a turn on each thread: no program can do more.
float multiply_and_add(long long turns, int threads, float factor) {
    std::vector<float> results(threads);
    auto run = [&](int thread) {
        Lanes sums[CHAINS];
        for (int i = 0; i < CHAINS; i++) sums[i] = Lanes{} + (float)i;
        for (long long turn = 0; turn < turns; turn++)
#pragma GCC unroll 24
            for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * factor + factor;
        for (Lanes sum : sums) results[thread] += total(sum);
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; thread++) others.emplace_back(run, thread);
    run(0);
    for (std::thread& other : others) other.join();
    return results[0];
}

int operations() { return 2 * LANES * CHAINS; }

// Additions of which each waits for the one before: one a clock cycle, so they count the cycles.
void add_in_a_chain(long long count) {
    long long sum = 0;
    for (long long i = 0; i < count; i += 16)
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            sum += 1;
            asm volatile("" : "+r"(sum));
        }
}
}
