#pragma once
#include <stddef.h>

// A virtual file system for SQLite (https://www.sqlite.org/vfs.html) over the system's own, for tests: before each
// operation named below it asks `hook`, which may note it, end the process, or have it fail. Closing, unlocking and the locks in
// shared memory it does not ask for: they change no file.

enum {
    ROLLCALL_DISK_OPEN = 1,
    ROLLCALL_DISK_WRITE,
    ROLLCALL_DISK_TRUNCATE,
    ROLLCALL_DISK_SYNC,
    ROLLCALL_DISK_DELETE,
    ROLLCALL_DISK_READ,
    ROLLCALL_DISK_SIZE,
    ROLLCALL_DISK_EXISTS,
    ROLLCALL_DISK_LOCK,
    ROLLCALL_DISK_SHARE,
};

typedef struct {
    int operation;
    const char *path;
    // Of a write and a read where; of a truncation the new size; of a deletion whether it is to be durable.
    long long offset;
    // Of a write.
    const void *data;
    long long count;
} rollcall_disk_step;

// 0 to go on, 1 to fail as by a broken disk, 2 to fail as by a full one (only what writes; else as by a broken one).
typedef int (*rollcall_disk_hook)(void *context, const rollcall_disk_step *step);

// Makes a file system of that name known to SQLite. An opaque handle, or NULL.
void *rollcall_disk_register(const char *name, rollcall_disk_hook hook, void *context);
// Forgets it: no database may be open on it.
void rollcall_disk_unregister(void *disk);

// All rows of all tables of a database as text, one a line, ordered; NULL with a text in `problem` when it cannot be read or
// `PRAGMA integrity_check` complains. Free either with `rollcall_disk_free`.
char *rollcall_disk_dump(const char *path, char **problem);
void rollcall_disk_free(char *text);
