#pragma once
#include <sys/types.h>

// prctl is variadic in C; Swift does not import variadic functions.
// Asks the kernel to send `signal` to this process when its parent dies. 0, or -1 with errno.
int rollcall_set_parent_death_signal(int signal);

// Makes orphans among the descendants of this process its own children, so that it can reap them. 0, or -1 with errno.
int rollcall_become_subreaper(void);

// posix_spawn cannot set the parent death signal: fork, prctl, dup2, chdir, exec in one step, async-signal-safe throughout.
// `arguments` and `environment` end with NULL. A standard descriptor of -1 is inherited. When `own_group` is not 0 the child
// leads a process group of its own. `directory` may be NULL. The process id, or -1 with errno when fork failed;
// a failed exec ends the child with status 127. No other descriptor reaches the child.
pid_t rollcall_spawn(const char *path, char *const arguments[], char *const environment[], const char *directory,
                     int standard_input, int standard_output, int standard_error, int parent_death_signal, int own_group);

#include <sys/signalfd.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <getopt.h>

// getopt_long keeps its state in globals, which Swift 6 does not let through. Parses the next argument: the index of the
// long option, -1 at the end of the options, -2 for an unknown one, -3 for a missing value, -4 for a value that is not wanted.
// The state is one for the process: hold the lock from a restart to the end of a list.
// `value` is set to the option's value or NULL, `position` to the index of the next argument. `restart` begins a new list.
int rollcall_next_option(int count, char *const arguments[], const struct option *options, const char **value,
                         int *position, int restart);
void rollcall_lock_options(void);
void rollcall_unlock_options(void);

// `environ` is a mutable global, which Swift 6 does not let through.
char **rollcall_environment(void);

// ioctl is variadic in C. How many characters fit into a line of the terminal; 0 when it is none or does not say.
int rollcall_terminal_columns(int descriptor);
