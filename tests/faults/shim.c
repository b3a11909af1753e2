/* Faults of file systems, to be loaded before a program's own library (LD_PRELOAD).

FAULTS holds rules, separated by ";", each of fields separated by ",":

    op=link|rename|open|fsync|list|stat   the call; list is opendir and readdir
    path=GLOB                             of the last path that the call names
    errno=N                               what it fails with; without it, it only waits
    skip=N  count=N                       calls let through first, and calls hit then
    chance=P seed=N                       the share of calls that are hit, from a seed
    after=1                               the call succeeds first, and fails all the same
    delay=MS                              waits before the call
    lag=MS                                list: names younger than this are not there

For Linux with glibc. Compile with: cc -shared -fPIC -o shim.so shim.c -ldl -pthread */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RULES 16

struct rule {
    char op[16], path[256];
    int error, skip, count, after, delay, lag;
    double chance;
    unsigned seed;
};

static struct rule rules[RULES];
static int known = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void read_rules(void) {
    char *text = getenv("FAULTS"), *outer, *inner;
    known = 0;
    if (!text) return;
    text = strdup(text);
    for (char *one = strtok_r(text, ";", &outer); one && known < RULES;
         one = strtok_r(NULL, ";", &outer)) {
        struct rule *r = &rules[known++];
        r->count = -1;
        strcpy(r->path, "*");
        for (char *field = strtok_r(one, ",", &inner); field;
             field = strtok_r(NULL, ",", &inner)) {
            char *value = strchr(field, '=');
            if (!value) continue;
            *value++ = 0;
            if (!strcmp(field, "op")) snprintf(r->op, sizeof r->op, "%s", value);
            if (!strcmp(field, "path")) snprintf(r->path, sizeof r->path, "%s", value);
            if (!strcmp(field, "errno")) r->error = atoi(value);
            if (!strcmp(field, "skip")) r->skip = atoi(value);
            if (!strcmp(field, "count")) r->count = atoi(value);
            if (!strcmp(field, "after")) r->after = atoi(value);
            if (!strcmp(field, "delay")) r->delay = atoi(value);
            if (!strcmp(field, "lag")) r->lag = atoi(value);
            if (!strcmp(field, "chance")) r->chance = atof(value);
            if (!strcmp(field, "seed")) r->seed = atoi(value) + getpid();
        }
    }
}

/* The rule that hits this call, or none. */
static struct rule *hit(const char *op, const char *path) {
    struct rule *found = NULL;
    pthread_mutex_lock(&lock);
    if (known < 0) read_rules();
    for (int i = 0; i < known && !found; i++) {
        struct rule *r = &rules[i];
        if (strcmp(r->op, op) || fnmatch(r->path, path ? path : "", 0) || r->lag)
            continue;
        if (r->chance > 0 && rand_r(&r->seed) > r->chance * RAND_MAX) continue;
        if (r->skip > 0) { r->skip--; continue; }
        if (!r->count) continue;
        if (r->count > 0) r->count--;
        found = r;
    }
    pthread_mutex_unlock(&lock);
    if (found && found->delay) usleep(1000 * found->delay);
    return found && found->error ? found : NULL;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* Calls the real function unless the fault comes before it. */
#define FAULTY(op, path, call) \
    do { \
        struct rule *r = hit(op, path); \
        int result = r && !r->after ? -1 : (call); \
        if (r) { \
            if (r->after && result > 2 && !strcmp(op, "open")) close(result); \
            errno = r->error; \
            return -1; \
        } \
        return result; \
    } while (0)

int link(const char *from, const char *to) {
    REAL(link);
    FAULTY("link", to, real(from, to));
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(linkat);
    FAULTY("link", to, real(a, from, b, to, flags));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    FAULTY("rename", to, real(from, to));
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    REAL(open64);
    FAULTY("open", path, real(path, flags, mode));
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    REAL(open);
    FAULTY("open", path, real(path, flags, mode));
}

static const char *path_of(int handle, char *buffer, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(name, buffer, size - 1);
    buffer[length < 0 ? 0 : length] = 0;
    return buffer;
}

int fsync(int handle) {
    char path[4096];
    REAL(fsync);
    FAULTY("fsync", path_of(handle, path, sizeof path), real(handle));
}

DIR *opendir(const char *path) {
    REAL(opendir);
    struct rule *r = hit("list", path);
    if (!r) return real(path);
    errno = r->error;
    return NULL;
}

/* Whether a listing that is behind does not have this name yet. */
static int is_late(DIR *folder, const char *name) {
    struct stat facts;
    struct timespec now;
    for (int i = 0; i < known; i++) {
        if (strcmp(rules[i].op, "list") || !rules[i].lag) continue;
        if (fnmatch(rules[i].path, name, 0)) continue;
        if (fstatat(dirfd(folder), name, &facts, AT_SYMLINK_NOFOLLOW)) continue;
        clock_gettime(CLOCK_REALTIME, &now);
        double age = 1e3 * (now.tv_sec - facts.st_ctim.tv_sec) +
                     1e-6 * (now.tv_nsec - facts.st_ctim.tv_nsec);
        if (age < rules[i].lag) return 1;
    }
    return 0;
}

struct dirent64 *readdir64(DIR *folder) {
    REAL(readdir64);
    struct dirent64 *entry;
    if (known < 0) hit("", "");
    do entry = real(folder);
    while (entry && is_late(folder, entry->d_name));
    return entry;
}

struct dirent *readdir(DIR *folder) {
    REAL(readdir);
    struct dirent *entry;
    if (known < 0) hit("", "");
    do entry = real(folder);
    while (entry && is_late(folder, entry->d_name));
    return entry;
}
