#define _GNU_SOURCE
#include "linux_shim.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

int rollcall_set_parent_death_signal(int signal) { return prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0, 0, 0); }

int rollcall_become_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0, 0, 0); }

pid_t rollcall_spawn(const char *path, char *const arguments[], char *const environment[], const char *directory,
                     int standard_input, int standard_output, int standard_error, int parent_death_signal, int own_group) {
    pid_t parent = getpid();
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    pid_t child = fork();
    if (child != 0) {
        int saved = errno;
        sigprocmask(SIG_SETMASK, &old, NULL);
        errno = saved;
        return child;
    }
    if (parent_death_signal != 0) {
        prctl(PR_SET_PDEATHSIG, (unsigned long)parent_death_signal, 0, 0, 0);
        if (getppid() != parent) _exit(127);  // the parent died before the request was made
    }
    if (own_group) setpgid(0, 0);
    if (standard_input >= 0) dup2(standard_input, 0);
    if (standard_output >= 0) dup2(standard_output, 1);
    if (standard_error >= 0) dup2(standard_error, 2);
    if (directory && chdir(directory) != 0) _exit(127);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Libraries open sockets that are not marked close-on-exec; a kernel older than 5.9 leaves them to the child.
    close_range(3, ~0U, 0);
    execve(path, arguments, environment);
    _exit(127);
}

static pthread_mutex_t options_mutex = PTHREAD_MUTEX_INITIALIZER;
void rollcall_lock_options(void) { pthread_mutex_lock(&options_mutex); }
void rollcall_unlock_options(void) { pthread_mutex_unlock(&options_mutex); }

int rollcall_next_option(int count, char *const arguments[], const struct option *options, const char **value,
                         int *position, int restart) {
    int index = -1;
    if (restart) optind = 0;
    opterr = 0;
    optarg = NULL;
    // '-' first: arguments that are no options end the parsing of a step and are given as value of code 1; ':' tells a missing value.
    int code = getopt_long(count, arguments, "-:h", options, &index);
    *value = optarg;
    *position = optind;
    if (code == 0) return index;
    if (code == 1) return -5;
    if (code == -1) return -1;
    if (code == 'h') {
        for (index = 0; options[index].name; index++)
            if (!strcmp(options[index].name, "help")) return index;
        return -4;
    }
    if (code == ':') return -3;
    return optopt ? -4 : -2;
}

extern char **environ;
char **rollcall_environment(void) { return environ; }

int rollcall_terminal_columns(int descriptor) {
    struct winsize size;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
