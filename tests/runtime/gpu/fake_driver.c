/* Plays NVML (libnvidia-ml.so.1) and CUDA's driver (libcuda.so.1): tests write what they tell into $FAKE_GPUS.
 *
 * One line for each GPU or MIG instance, read anew at every call:
 *     UUID UTILIZATION USED TOTAL REASONS LOST PARENT
 * UTILIZATION: percent, -1 where it is not supported. REASONS: bits of throttling. LOST: 1 after it fell off the
 * bus. PARENT: line of the GPU that a MIG instance is part of, -1 for a GPU. Handles are line numbers from 1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, IS_LOST = 15, MOST = 16, NAME = 96 };

typedef struct {
    char uuid[NAME];
    int utilization;
    unsigned long long used, total, reasons;
    int lost, parent;
} Gpu;

typedef struct { unsigned long long total, unused, used; } Memory;
typedef struct { unsigned gpu, memory; } Rates;

static Gpu gpus[MOST];

static int read_gpus(void) {
    const char *path = getenv("FAKE_GPUS");
    FILE *file = path ? fopen(path, "r") : NULL;
    int count = 0;
    if (!file) return 0;
    while (count < MOST) {
        Gpu *g = gpus + count;
        if (fscanf(file, "%95s %d %llu %llu %llu %d %d", g->uuid, &g->utilization, &g->used, &g->total,
                   &g->reasons, &g->lost, &g->parent) != 7)
            break;
        count++;
    }
    fclose(file);
    return count;
}

static int parts(int line, int count) {
    int found = 0;
    for (int i = 0; i < count; i++) found += gpus[i].parent == line;
    return found;
}

/* The GPU behind a handle; NULL for one that there is not. */
static Gpu *of(void *handle) {
    intptr_t line = (intptr_t)handle - 1;
    return line >= 0 && line < read_gpus() ? gpus + line : NULL;
}

#define ANSWERING(g, handle) \
    Gpu *g = of(handle);     \
    if (!g) return INVALID;  \
    if (g->lost) return IS_LOST

int nvmlInitWithFlags(unsigned flags) { return flags ? INVALID : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == IS_LOST ? "GPU is lost" : "played error"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 0;
    for (int i = 0, n = read_gpus(); i < n; i++) *count += gpus[i].parent < 0;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    for (int i = 0, n = read_gpus(); i < n; i++)
        if (gpus[i].parent < 0 && !index--) {
            *handle = (void *)(intptr_t)(i + 1);
            return gpus[i].lost ? IS_LOST : SUCCESS;
        }
    return INVALID;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    ANSWERING(g, handle);
    snprintf(text, length, "%s", g->uuid);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    ANSWERING(g, handle);
    snprintf(text, length, "Played GPU");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    ANSWERING(g, handle);
    *memory = (Memory){g->total, g->total - g->used, g->used};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, Rates *rates) {
    ANSWERING(g, handle);
    if (g->utilization < 0) return UNSUPPORTED;
    *rates = (Rates){(unsigned)g->utilization, 0};
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons) {
    ANSWERING(g, handle);
    *reasons = g->reasons;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    ANSWERING(g, handle);
    *current = *pending = parts((int)(g - gpus), read_gpus()) > 0;
    return g->parent < 0 ? SUCCESS : INVALID;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    ANSWERING(g, handle);
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
    ANSWERING(g, handle);
    int line = (int)(g - gpus);
    for (int i = 0, n = read_gpus(); i < n; i++)
        if (gpus[i].parent == line && !index--) {
            *instance = (void *)(intptr_t)(i + 1);
            return SUCCESS;
        }
    return NOT_FOUND;
}

/* CUDA offers MIG instances, and GPUs that are not partitioned. */
static int computing(int ordinal) {
    int count = read_gpus();
    for (int i = 0; i < count; i++)
        if (!parts(i, count) && !ordinal--) return i;
    return -1;
}

int cuInit(unsigned flags) { return flags ? 1 : getenv("FAKE_CUDA_FAILS") ? 100 : 0; }

int cuDeviceGetCount(int *count) {
    for (*count = 0; computing(*count) >= 0; ++*count) {}
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return computing(ordinal) < 0 ? 101 : 0;
}

int cuDeviceGetName(char *text, int length, int device) {
    snprintf(text, (size_t)length, "Played GPU");
    return computing(device) < 0 ? 101 : 0;
}

int cuDeviceGetUuid_v2(unsigned char *bytes, int device) {
    int line = computing(device), filled = 0;
    if (line < 0) return 101;
    const char *digits = strchr(gpus[line].uuid, '-');
    for (; digits && *digits && filled < 16; digits++) {
        unsigned byte;
        if (*digits == '-') continue;
        if (sscanf(digits, "%2x", &byte) != 1) return 1;
        bytes[filled++] = (unsigned char)byte;
        digits++;
    }
    return filled == 16 ? 0 : 1;
}
