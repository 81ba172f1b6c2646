#pragma once
#include <stddef.h>

// A file of the dashboard: where it is served, its media type and its bytes, which live as long as the program.
struct rollcall_dashboard_file {
    const char *path;
    const char *type;
    const unsigned char *bytes;
    size_t size;
};

size_t rollcall_dashboard_count(void);
struct rollcall_dashboard_file rollcall_dashboard_file(size_t index);
