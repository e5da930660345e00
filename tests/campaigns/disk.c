/* Keeps a log of what a process does to the files below a folder, and makes some of it fail.
 *
 * To be preloaded. DISK_FOLDER (an absolute path without links) says where, DISK_LOG to which file.
 * What succeeded becomes a line "NAME INODE NUMBER LENGTH" in the log, then LENGTH bytes:
 * the data of a write or a path. NUMBER is an offset, a size or an errno.
 *
 * DISK_FAULT="sync journal.db-wal 12 5 once" lets the 12th sync of that file fail with errno 5;
 * "write" instead of "sync" strikes writes, "forever" instead of "once" the later ones too.
 *
 * A sync covers what was written before it began, when "syncing" is noted with the number of the
 * thread, as "sync" is at its end. DISK_SLOW is how many microseconds it takes at most, while other
 * threads go on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *folder;
static int log_file = -1;
static int slow;
static unsigned seed = 1;
static struct { char operation[8], file[64], times[8]; long at, seen; int error; } fault;
/* Held over an operation and its line, so that the log has the order of the disk. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void)
{
    const char *wanted = getenv("DISK_FAULT"), *log = getenv("DISK_LOG");
    slow = getenv("DISK_SLOW") ? atoi(getenv("DISK_SLOW")) : 0;
    if (!(folder = getenv("DISK_FOLDER")) || !log)
        abort();
    if ((log_file = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0)
        abort();
    if (wanted && sscanf(wanted, "%7s %63s %ld %d %7s", fault.operation, fault.file, &fault.at,
                         &fault.error, fault.times) != 5)
        abort();
}

static int is_below(const char *path)
{
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (!path[length] || path[length] == '/');
}

static int is_watched(int file, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return is_below(path);
}

static void note(const char *name, ino_t inode, long long number, const void *data, size_t length)
{
    char line[128];
    int head = snprintf(line, sizeof line, "%s %lu %lld %zu\n", name, inode, number, length);
    struct iovec parts[] = {{line, head}, {(void *)data, length}};
    if (writev(log_file, parts, 2) != (ssize_t)(head + length))
        abort();
}

static ino_t inode_of(int file)
{
    struct stat status;
    return fstat(file, &status) ? 0 : status.st_ino;
}

static int strikes(const char *operation, int file, const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    if (strcmp(operation, fault.operation) || strcmp(name, fault.file) || ++fault.seen < fault.at)
        return 0;
    if (fault.seen > fault.at && strcmp(fault.times, "forever"))
        return 0;
    note(*operation == 's' ? "failed-sync" : "failed-write", inode_of(file), fault.error, "", 0);
    errno = fault.error;
    return 1;
}

#define WRITE(call, offset)                                                                        \
    char path[PATH_MAX];                                                                           \
    if (!is_watched(file, path))                                                                   \
        return call;                                                                               \
    pthread_mutex_lock(&order);                                                                    \
    ssize_t done = strikes("write", file, path) ? -1 : call;                                       \
    if (done > 0)                                                                                  \
        note("write", inode_of(file), offset, data, done);                                         \
    pthread_mutex_unlock(&order);                                                                  \
    return done

ssize_t write(int file, const void *data, size_t length)
{
    WRITE(REAL(write)(file, data, length), lseek(file, 0, SEEK_CUR) - done);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset)
{
    WRITE(REAL(pwrite)(file, data, length, offset), offset);
}

ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));

/* What needs no more than a note when it went well. */
#define NOTED(watched, call, ...)                                                                  \
    char path[PATH_MAX];                                                                           \
    (void)path;                                                                                    \
    if (!(watched))                                                                                \
        return call;                                                                               \
    pthread_mutex_lock(&order);                                                                    \
    int result = call;                                                                             \
    if (!result)                                                                                   \
        note(__VA_ARGS__);                                                                         \
    pthread_mutex_unlock(&order);                                                                  \
    return result

#define SYNC(call)                                                                                 \
    char path[PATH_MAX];                                                                           \
    if (!is_watched(file, path))                                                                   \
        return call;                                                                               \
    long thread = syscall(SYS_gettid);                                                             \
    pthread_mutex_lock(&order);                                                                    \
    int result = strikes("sync", file, path) ? -1 : 0, error = errno;                              \
    if (!result)                                                                                   \
        note("syncing", inode_of(file), thread, "", 0);                                            \
    int pause = slow ? rand_r(&seed) % slow : 0;                                                   \
    pthread_mutex_unlock(&order);                                                                  \
    usleep(pause);                                                                                 \
    if (result) {                                                                                  \
        errno = error;                                                                             \
        return result;                                                                             \
    }                                                                                              \
    result = call;                                                                                 \
    pthread_mutex_lock(&order);                                                                    \
    if (!result)                                                                                   \
        note("sync", inode_of(file), thread, "", 0);                                               \
    pthread_mutex_unlock(&order);                                                                  \
    return result

int fsync(int file) { SYNC(REAL(fsync)(file)); }

int fdatasync(int file) { SYNC(REAL(fdatasync)(file)); }

int ftruncate(int file, off_t size)
{
    NOTED(is_watched(file, path), REAL(ftruncate)(file, size), "truncate", inode_of(file), size, "", 0);
}

int ftruncate64(int, off64_t) __attribute__((alias("ftruncate")));

int unlink(const char *name)
{
    NOTED(is_below(name), REAL(unlink)(name), "unlink", 0, 0, name, strlen(name));
}

int rename(const char *from, const char *to)
{
    NOTED(is_below(to), REAL(rename)(from, to), "rename", 0, 0, path,
          snprintf(path, sizeof path, "%s\n%s", from, to));
}

int mkdir(const char *name, mode_t mode)
{
    struct stat status;
    NOTED(is_below(name), REAL(mkdir)(name, mode), "mkdir",
          stat(name, &status) ? 0 : status.st_ino, 0, name, strlen(name));
}

int open(const char *name, int flags, ...)
{
    char path[PATH_MAX];
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    pthread_mutex_lock(&order);
    int was_there = !access(name, F_OK), file = REAL(open)(name, flags, mode), error = errno;
    if (file >= 0 && flags & (O_CREAT | O_TRUNC) && is_watched(file, path)) {
        if (!was_there)
            note("create", inode_of(file), 0, path, strlen(path));
        else if (flags & O_TRUNC)
            note("truncate", inode_of(file), 0, "", 0);
    }
    pthread_mutex_unlock(&order);
    errno = error;
    return file;
}

int open64(const char *, int, ...) __attribute__((alias("open")));
