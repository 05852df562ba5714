/* LinUCB and its worlds by hand: what a person would write in C, in float32, with OpenMP over models and users.

   Models are factorised once a round, M = L L', W = L^-1, and of many models those alone that have learnt. Both functions
   play `rounds` rounds, go on from what they are given, and return the mean regret.
   gcc -O3 -march=native -ffast-math -fopenmp -shared -fPIC linucb.c -o linucb.so -lm */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST 128 /* features */
#define SIDE 16  /* users scored side by side */

typedef struct {
    int users, items, user_dim, item_dim, rank, arms, batch;
    const float *user, *item, *user_reward, *item_reward;
    float mean, low, high, alpha, ridge;
} World;

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

static int below(uint64_t *state, int n) { return (int)(((next(state) >> 32) * (uint64_t)n) >> 32); }

/* The first `count` of a shuffle of 0 .. n - 1, which `order` holds in any order. */
static void shuffle(uint64_t *state, int *order, int n, int count) {
    for (int i = 0; i < count; i++) {
        int j = i + below(state, n - i), kept = order[i];
        order[i] = order[j], order[j] = kept;
    }
}

static float dot(const float *restrict a, const float *restrict b, int n) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static float rating(const World *w, int user, int item) {
    float r = w->mean + dot(w->user_reward + (size_t)user * w->rank, w->item_reward + (size_t)item * w->rank, w->rank);
    return fminf(fmaxf(r, w->low), w->high);
}

/* W = L^-1 of A + ridge I, row after row, and theta = W' W b. */
static void solve(const float *A, const float *b, float ridge, int d, float *W, float *theta) {
    float l[MOST], row[MOST];
    memset(W, 0, sizeof(float) * d * d), memset(theta, 0, sizeof(float) * d);
    for (int j = 0; j < d; j++) {
        float left = A[j * d + j] + ridge;
        for (int i = 0; i < j; i++) l[i] = dot(W + i * d, A + j * d, i + 1), left -= l[i] * l[i];
        memset(row, 0, sizeof(float) * d);
        row[j] = 1;
        for (int i = 0; i < j; i++)
            for (int k = 0; k <= i; k++) row[k] -= l[i] * W[i * d + k];
        float scale = 1 / sqrtf(fmaxf(left, ridge));
        for (int k = 0; k <= j; k++) W[j * d + k] = row[k] * scale;
        float half = dot(W + j * d, b, j + 1);
        for (int k = 0; k <= j; k++) theta[k] += half * W[j * d + k];
    }
}

static void learn(float *A, float *b, const float *x, float reward, int d) {
    for (int i = 0; i < d; i++) {
        for (int j = 0; j < d; j++) A[i * d + j] += x[i] * x[j];
        b[i] += reward * x[i];
    }
}

/* A model for each of the first `arms` items; the users of a batch are distinct. */
double disjoint(const World *w, float *A, float *b, float *W, float *theta, uint64_t *seed, int rounds) {
    int d = w->user_dim, K = w->arms, B = w->batch, *order = malloc(sizeof(int) * w->users);
    int *action = malloc(sizeof(int) * B);
    char *touched = malloc(K);
    float *regret = malloc(sizeof(float) * B);
    double total = 0;
    memset(touched, 1, K);
    for (int u = 0; u < w->users; u++) order[u] = u;
    for (int round = 0; round < rounds; round++) {
        shuffle(seed, order, w->users, B);
#pragma omp parallel
        {
#pragma omp for schedule(dynamic, 4)
            for (int k = 0; k < K; k++)
                if (touched[k]) solve(A + (size_t)k * d * d, b + (size_t)k * d, w->ridge, d, W + (size_t)k * d * d, theta + (size_t)k * d);
#pragma omp for schedule(static)
            for (int first = 0; first < B; first += SIDE) {
                float x[MOST][SIDE], best[SIDE];
                int arm[SIDE] = {0}, n = B - first < SIDE ? B - first : SIDE;
                for (int s = 0; s < SIDE; s++) {
                    best[s] = -FLT_MAX;
                    for (int i = 0; i < d; i++) x[i][s] = s < n ? w->user[(size_t)order[first + s] * d + i] : 0;
                }
                for (int k = 0; k < K; k++) {
                    const float *Wk = W + (size_t)k * d * d, *t = theta + (size_t)k * d;
                    float mean[SIDE] = {0}, variance[SIDE] = {0};
                    for (int i = 0; i < d; i++) {
                        float white[SIDE] = {0};
                        for (int j = 0; j <= i; j++)
                            for (int s = 0; s < SIDE; s++) white[s] += Wk[i * d + j] * x[j][s];
                        for (int s = 0; s < SIDE; s++) variance[s] += white[s] * white[s], mean[s] += t[i] * x[i][s];
                    }
                    for (int s = 0; s < SIDE; s++) {
                        float score = mean[s] + w->alpha * sqrtf(variance[s]);
                        arm[s] = score > best[s] ? k : arm[s], best[s] = score > best[s] ? score : best[s];
                    }
                }
                for (int s = 0; s < n; s++) {
                    float most = -FLT_MAX, paid = 0;
                    for (int k = 0; k < K; k++) {
                        float r = rating(w, order[first + s], k);
                        most = r > most ? r : most, paid = k == arm[s] ? r : paid;
                    }
                    action[first + s] = arm[s], regret[first + s] = most - paid;
                }
            }
        }
        memset(touched, 0, K);
        for (int i = 0; i < B; i++) {
            int k = action[i];
            touched[k] = 1, total += regret[i];
            learn(A + (size_t)k * d * d, b + (size_t)k * d, w->user + (size_t)order[i] * d, rating(w, order[i], k), d);
        }
    }
    free(order), free(action), free(touched), free(regret);
    return total / ((double)rounds * B);
}

/* One model of [user; item]; other items for every user. x'Px = u'P11u + 2 v'P21u + v'P22v, the last for each item once. */
double shared(const World *w, float *A, float *b, float *W, float *theta, uint64_t *seed, int rounds) {
    int du = w->user_dim, da = w->item_dim, d = du + da, K = w->arms, B = w->batch, N = w->items;
    int *order = malloc(sizeof(int) * N), *offered = malloc(sizeof(int) * B * K), *who = malloc(sizeof(int) * B);
    float *x = malloc(sizeof(float) * B * d), *reward = malloc(sizeof(float) * B), *regret = malloc(sizeof(float) * B);
    float *table = malloc(sizeof(float) * N), *value = malloc(sizeof(float) * N);
    float P[MOST * MOST];
    double total = 0;
    for (int i = 0; i < N; i++) order[i] = i;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < B; i++) {
            who[i] = below(seed, w->users);
            shuffle(seed, order, N, K);
            memcpy(offered + i * K, order, sizeof(int) * K);
        }
        solve(A, b, w->ridge, d, W, theta);
        memset(P, 0, sizeof(float) * d * d);
        for (int e = 0; e < d; e++)
            for (int i = 0; i <= e; i++)
                for (int j = 0; j <= e; j++) P[i * d + j] += W[e * d + i] * W[e * d + j];
#pragma omp parallel
        {
#pragma omp for schedule(static)
            for (int n = 0; n < N; n++) {
                const float *v = w->item + (size_t)n * da;
                float sum = 0;
                for (int i = 0; i < da; i++) sum += v[i] * dot(P + (du + i) * d + du, v, da);
                table[n] = sum, value[n] = dot(theta + du, v, da);
            }
#pragma omp for schedule(static)
            for (int n = 0; n < B; n++) {
                const float *u = w->user + (size_t)who[n] * du;
                float cross[MOST], own = 0, best = -FLT_MAX, most = -FLT_MAX, paid = 0, shift = dot(theta, u, du);
                int arm = 0;
                for (int i = 0; i < du; i++) own += u[i] * dot(P + i * d, u, du);
                for (int i = 0; i < da; i++) cross[i] = 2 * dot(P + (du + i) * d, u, du);
                for (int k = 0; k < K; k++) {
                    int item = offered[n * K + k];
                    float variance = own + dot(cross, w->item + (size_t)item * da, da) + table[item];
                    float score = shift + value[item] + w->alpha * sqrtf(fmaxf(variance, 0)), r = rating(w, who[n], item);
                    most = fmaxf(most, r);
                    if (score > best) best = score, arm = item, paid = r;
                }
                memcpy(x + n * d, u, sizeof(float) * du);
                memcpy(x + n * d + du, w->item + (size_t)arm * da, sizeof(float) * da);
                reward[n] = paid, regret[n] = most - paid;
            }
#pragma omp for schedule(static)
            for (int i = 0; i < d; i++)
                for (int n = 0; n < B; n++) {
                    const float *row = x + n * d;
                    for (int j = 0; j < d; j++) A[i * d + j] += row[i] * row[j];
                    b[i] += reward[n] * row[i];
                }
        }
        for (int n = 0; n < B; n++) total += regret[n];
    }
    free(order), free(offered), free(who), free(x), free(reward), free(regret), free(table), free(value);
    return total / ((double)rounds * B);
}
