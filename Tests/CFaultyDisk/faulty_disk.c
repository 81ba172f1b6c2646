#include "faulty_disk.h"
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    rollcall_disk_hook hook;
    void *context;
} faulty_disk;

typedef struct {
    sqlite3_file base;
    faulty_disk *disk;
    char *path;
    sqlite3_file *real;
} faulty_file;

#define FILE_OF(file) ((faulty_file *)(file))
#define REAL_OF(file) (FILE_OF(file)->real)

static int ask(faulty_disk *disk, int operation, const char *path, long long offset, const void *data, long long count) {
    rollcall_disk_step step = {operation, path ? path : "", offset, data, count};
    return disk->hook(disk->context, &step);
}

// Asks for an operation on a file; returns from the function when it is to fail.
#define ASK(file, operation, offset, data, count, broken, full)                                             \
    do {                                                                                                    \
        int answer_ = ask(FILE_OF(file)->disk, operation, FILE_OF(file)->path, offset, data, count);        \
        if (answer_) return answer_ == 2 ? (full) : (broken);                                               \
    } while (0)

static int file_close(sqlite3_file *file) {
    int code = REAL_OF(file)->pMethods ? REAL_OF(file)->pMethods->xClose(REAL_OF(file)) : SQLITE_OK;
    free(FILE_OF(file)->path);
    return code;
}

static int file_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset) {
    ASK(file, ROLLCALL_DISK_READ, offset, NULL, count, SQLITE_IOERR_READ, SQLITE_IOERR_READ);
    return REAL_OF(file)->pMethods->xRead(REAL_OF(file), bytes, count, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
    ASK(file, ROLLCALL_DISK_WRITE, offset, bytes, count, SQLITE_IOERR_WRITE, SQLITE_FULL);
    return REAL_OF(file)->pMethods->xWrite(REAL_OF(file), bytes, count, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    ASK(file, ROLLCALL_DISK_TRUNCATE, size, NULL, 0, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_TRUNCATE);
    return REAL_OF(file)->pMethods->xTruncate(REAL_OF(file), size);
}

static int file_sync(sqlite3_file *file, int flags) {
    ASK(file, ROLLCALL_DISK_SYNC, 0, NULL, 0, SQLITE_IOERR_FSYNC, SQLITE_IOERR_FSYNC);
    return REAL_OF(file)->pMethods->xSync(REAL_OF(file), flags);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    ASK(file, ROLLCALL_DISK_SIZE, 0, NULL, 0, SQLITE_IOERR_FSTAT, SQLITE_IOERR_FSTAT);
    return REAL_OF(file)->pMethods->xFileSize(REAL_OF(file), size);
}

static int file_lock(sqlite3_file *file, int level) {
    ASK(file, ROLLCALL_DISK_LOCK, 0, NULL, 0, SQLITE_IOERR_LOCK, SQLITE_IOERR_LOCK);
    return REAL_OF(file)->pMethods->xLock(REAL_OF(file), level);
}

static int file_unlock(sqlite3_file *file, int level) { return REAL_OF(file)->pMethods->xUnlock(REAL_OF(file), level); }

static int file_is_reserved(sqlite3_file *file, int *result) {
    return REAL_OF(file)->pMethods->xCheckReservedLock(REAL_OF(file), result);
}

static int file_control(sqlite3_file *file, int operation, void *argument) {
    return REAL_OF(file)->pMethods->xFileControl(REAL_OF(file), operation, argument);
}

static int file_sector_size(sqlite3_file *file) { return REAL_OF(file)->pMethods->xSectorSize(REAL_OF(file)); }

static int file_characteristics(sqlite3_file *file) {
    return REAL_OF(file)->pMethods->xDeviceCharacteristics(REAL_OF(file));
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **memory) {
    ASK(file, ROLLCALL_DISK_SHARE, page, NULL, size, SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMSIZE);
    return REAL_OF(file)->pMethods->xShmMap(REAL_OF(file), page, size, extend, memory);
}

static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return REAL_OF(file)->pMethods->xShmLock(REAL_OF(file), offset, count, flags);
}

static void file_shm_barrier(sqlite3_file *file) { REAL_OF(file)->pMethods->xShmBarrier(REAL_OF(file)); }

static int file_shm_unmap(sqlite3_file *file, int remove) {
    return REAL_OF(file)->pMethods->xShmUnmap(REAL_OF(file), remove);
}

// Version 2: without xFetch nothing is mapped past the hook.
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_is_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags) {
    faulty_disk *disk = (faulty_disk *)vfs;
    faulty_file *opened = FILE_OF(file);
    memset(opened, 0, sizeof *opened);
    if (ask(disk, ROLLCALL_DISK_OPEN, path, 0, NULL, 0)) return SQLITE_CANTOPEN;
    opened->disk = disk;
    opened->real = (sqlite3_file *)(opened + 1);
    opened->path = strdup(path ? path : "");
    memset(opened->real, 0, disk->real->szOsFile);
    int code = disk->real->xOpen(disk->real, path, opened->real, flags, out_flags);
    if (code == SQLITE_OK) {
        opened->base.pMethods = &methods;
    } else {
        free(opened->path);
    }
    return code;
}

static int disk_delete(sqlite3_vfs *vfs, const char *path, int sync_directory) {
    faulty_disk *disk = (faulty_disk *)vfs;
    if (ask(disk, ROLLCALL_DISK_DELETE, path, sync_directory, NULL, 0)) return SQLITE_IOERR_DELETE;
    return disk->real->xDelete(disk->real, path, sync_directory);
}

static int disk_access(sqlite3_vfs *vfs, const char *path, int flags, int *result) {
    faulty_disk *disk = (faulty_disk *)vfs;
    if (ask(disk, ROLLCALL_DISK_EXISTS, path, 0, NULL, 0)) return SQLITE_IOERR_ACCESS;
    return disk->real->xAccess(disk->real, path, flags, result);
}

void *rollcall_disk_register(const char *name, rollcall_disk_hook hook, void *context) {
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    faulty_disk *disk = real ? calloc(1, sizeof *disk) : NULL;
    if (!disk) return NULL;
    disk->vfs = *real;  // what is not replaced below takes no file
    disk->vfs.pNext = NULL;
    disk->vfs.zName = strdup(name);
    disk->vfs.szOsFile = (int)sizeof(faulty_file) + real->szOsFile;
    disk->vfs.xOpen = disk_open;
    disk->vfs.xDelete = disk_delete;
    disk->vfs.xAccess = disk_access;
    disk->real = real;
    disk->hook = hook;
    disk->context = context;
    if (sqlite3_vfs_register(&disk->vfs, 0) == SQLITE_OK) return disk;
    free((char *)disk->vfs.zName);
    free(disk);
    return NULL;
}

void rollcall_disk_unregister(void *handle) {
    faulty_disk *disk = handle;
    sqlite3_vfs_unregister(&disk->vfs);
    free((char *)disk->vfs.zName);
    free(disk);
}

static int add_row(void *text, int count, char **values, char **names) {
    (void)names;
    for (int index = 0; index < count; index++) sqlite3_str_appendf(text, "%s%s", index ? "|" : "", values[index]);
    sqlite3_str_appendchar(text, 1, '\n');
    return 0;
}

static int add_statement(void *text, int count, char **values, char **names) {
    (void)count, (void)names;
    sqlite3_str_appendf(text, "%s;", values[0]);
    return 0;
}

char *rollcall_disk_dump(const char *path, char **problem) {
    sqlite3 *database = NULL;
    sqlite3_str *state = sqlite3_str_new(NULL), *script = sqlite3_str_new(NULL), *rows = sqlite3_str_new(NULL);
    *problem = NULL;
    int code = sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL);
    if (code == SQLITE_OK) code = sqlite3_exec(database, "PRAGMA integrity_check", add_row, state, problem);
    if (code == SQLITE_OK && strcmp(sqlite3_str_value(state), "ok\n") != 0) {
        *problem = sqlite3_mprintf("%s", sqlite3_str_value(state));
        code = SQLITE_CORRUPT;
    }
    // For each table a SELECT of all its columns, quoted, ordered by the first two.
    const char *list =
        "SELECT 'SELECT ''' || t.name || '''' || "
        "(SELECT group_concat(', quote(\"' || c.name || '\")', '') FROM pragma_table_info(t.name) c) || "
        "' FROM \"' || t.name || '\" ORDER BY 2, 3' FROM sqlite_schema t WHERE t.type = 'table' ORDER BY t.name";
    if (code == SQLITE_OK) code = sqlite3_exec(database, list, add_statement, script, problem);
    if (code == SQLITE_OK && sqlite3_str_length(script)) {
        code = sqlite3_exec(database, sqlite3_str_value(script), add_row, rows, problem);
    }
    if (code != SQLITE_OK && !*problem) *problem = sqlite3_mprintf("%s", sqlite3_errmsg(database));
    sqlite3_close_v2(database);
    sqlite3_free(sqlite3_str_finish(state));
    sqlite3_free(sqlite3_str_finish(script));
    char *text = sqlite3_str_finish(rows);
    if (code == SQLITE_OK) return text ? text : sqlite3_mprintf("");
    sqlite3_free(text);
    return NULL;
}

void rollcall_disk_free(char *text) { sqlite3_free(text); }
