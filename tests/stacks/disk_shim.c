/* Stands between a program and its disk (LD_PRELOAD): records what it does to the files of one
 * folder, in order, and gives the folder a size of its own.
 *
 *   DISK_WATCH  the folder; everything else passes untouched
 *   DISK_LOG    file that gets the records; none: nothing is recorded
 *   DISK_ROOM   file with eight bytes, little endian: how many bytes the files of the folder may
 *               take together; it may change while the program runs; none or negative: no limit
 *
 * A record is <u8 kind><i32 descriptor><i64 place><i64 length> and the bytes. Kinds: O open (place 1:
 * made by this call), W write, T cut to a length, S flushed, C closed, U unlinked, R renamed (both
 * names, NUL between), D folder made. A program on a full disk gets ENOSPC for what makes a file
 * longer; what stands inside a file can still be written over.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define REAL(name, ...) \
    static __typeof__(name) *real; \
    if (!real) real = dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watch[4096];
static size_t watch_length;
static int log_fd = -1;
static const volatile int64_t *room;
static unsigned char watched[DESCRIPTORS];

static int raw_open(const char *path, int flags, mode_t mode) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    return real(path, flags, mode);
}

static ssize_t raw_write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return real(fd, data, size);
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("DISK_WATCH"), *log = getenv("DISK_LOG"), *limit = getenv("DISK_ROOM");
    if (!folder) return;
    strncpy(watch, folder, sizeof watch - 1);
    watch_length = strlen(watch);
    if (log) log_fd = raw_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (limit) {
        int fd = raw_open(limit, O_RDONLY | O_CLOEXEC, 0);
        void *seen = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
        if (fd >= 0 && seen != MAP_FAILED) room = seen;
    }
}

static int is_inside(const char *path) {
    return watch_length && path && !strncmp(path, watch, watch_length) &&
           (path[watch_length] == '/' || path[watch_length] == 0);
}

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size) {
        ssize_t done = raw_write(log_fd, at, size);
        if (done <= 0) abort();
        at += done;
        size -= (size_t)done;
    }
}

static void record(char kind, int fd, int64_t place, const void *data, int64_t length) {
    if (log_fd < 0) return;
    char head[21];
    int32_t number = fd;
    head[0] = kind;
    memcpy(head + 1, &number, 4);
    memcpy(head + 5, &place, 8);
    memcpy(head + 13, &length, 8);
    put(head, sizeof head);
    if (length) put(data, (size_t)length);
}

static int is_watched(int fd) { return fd >= 0 && fd < DESCRIPTORS && watched[fd]; }

/* Bytes of all files in the folder, one level of folders down as well. */
static int64_t used(const char *folder, int depth) {
    int64_t sum = 0;
    DIR *open_folder = opendir(folder);
    if (!open_folder) return 0;
    for (struct dirent *entry; (entry = readdir(open_folder));) {
        char path[8192];
        struct stat found;
        if (entry->d_name[0] == '.') continue;
        strcpy(path, folder);
        strcat(path, "/");
        strcat(path, entry->d_name);
        if (lstat(path, &found)) continue;
        if (S_ISREG(found.st_mode)) sum += found.st_size;
        if (S_ISDIR(found.st_mode) && depth) sum += used(path, depth - 1);
    }
    closedir(open_folder);
    return sum;
}

/* Whether a file may reach to ``end``. */
static int has_room(int fd, int64_t end) {
    struct stat found;
    if (!room || *room < 0 || fstat(fd, &found) || !S_ISREG(found.st_mode)) return 1;
    return end <= found.st_size || used(watch, 2) + end - found.st_size <= *room;
}

static int opened(int fd, const char *path, int flags, int was_there) {
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    watched[fd] = 1;
    record('O', fd, !was_there, path, (int64_t)strlen(path));
    if (flags & O_TRUNC) record('T', fd, 0, NULL, 0);
    return fd;
}

static int open_file(const char *path, int flags, mode_t mode) {
    if (!is_inside(path)) {
        int fd = raw_open(path, flags, mode);
        if (fd >= 0 && fd < DESCRIPTORS) watched[fd] = 0;
        return fd;
    }
    pthread_mutex_lock(&lock);
    int was_there = !access(path, F_OK);
    int fd = opened(raw_open(path, flags, mode), path, flags, was_there);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = (mode_t)va_arg(rest, int); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_file(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_file(path, flags, mode); }

int close(int fd) {
    REAL(close, fd);
    pthread_mutex_lock(&lock);
    if (is_watched(fd)) {
        watched[fd] = 0;
        record('C', fd, 0, NULL, 0);
    }
    int result = real(fd);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

/* Writes at a place (or where the file stands, with place -1). */
static ssize_t write_at(int fd, const void *data, size_t size, int64_t place) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t done;
    pthread_mutex_lock(&lock);
    int64_t start = place >= 0 ? place : (int64_t)lseek64(fd, 0, SEEK_CUR);
    if (!has_room(fd, start + (int64_t)size)) {
        pthread_mutex_unlock(&lock);
        errno = ENOSPC;
        return -1;
    }
    done = place >= 0 ? real(fd, data, size, place) : raw_write(fd, data, size);
    if (done > 0) record('W', fd, start, data, done);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    return is_watched(fd) ? write_at(fd, data, size, -1) : raw_write(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    REAL(pwrite64, fd, data, size, place);
    return is_watched(fd) ? write_at(fd, data, size, place) : real(fd, data, size, place);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    return pwrite64(fd, data, size, place);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64, fd, length);
    if (!is_watched(fd)) return real(fd, length);
    pthread_mutex_lock(&lock);
    int result = -1, error = ENOSPC;
    if (has_room(fd, length)) {
        result = real(fd, length);
        error = errno;
        if (!result) record('T', fd, length, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int flushed(int fd, int (*real)(int)) {
    int result = real(fd);
    int error = errno;
    if (!result && is_watched(fd)) {
        pthread_mutex_lock(&lock);
        record('S', fd, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}

int fsync(int fd) {
    REAL(fsync, fd);
    return flushed(fd, real);
}

int fdatasync(int fd) {
    REAL(fdatasync, fd);
    return flushed(fd, real);
}

int unlink(const char *path) {
    REAL(unlink, path);
    int result = real(path);
    if (!result && is_inside(path)) {
        pthread_mutex_lock(&lock);
        record('U', -1, 0, path, (int64_t)strlen(path));
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int rename(const char *old, const char *new) {
    REAL(rename, old, new);
    int result = real(old, new);
    if (!result && is_inside(old) && is_inside(new)) {
        char both[8192];
        size_t first = strlen(old) + 1, second = strlen(new);
        memcpy(both, old, first);
        memcpy(both + first, new, second);
        pthread_mutex_lock(&lock);
        record('R', -1, 0, both, (int64_t)(first + second));
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir, path, mode);
    int result = real(path, mode);
    int error = errno;
    if (!result && is_inside(path)) {
        pthread_mutex_lock(&lock);
        record('D', -1, 0, path, (int64_t)strlen(path));
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}
