#define _GNU_SOURCE
#include "clistener.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int close_range(unsigned int first, unsigned int last, int flags);

static void say(const char *what, int error) {
    char line[256];
    int length = error ? snprintf(line, sizeof line, "cdmfs: run: %s: %s\n", what, strerror(error))
                       : snprintf(line, sizeof line, "cdmfs: run: %s\n", what);
    // The reader may have gone.
    if (write(STDERR_FILENO, line, (size_t)length) < 0) return;
}

// Receives up to `capacity` open files. How many came.
static int receive(int socket, int *files, int capacity) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return 0;
    int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (count > capacity) return 0;
    memcpy(files, CMSG_DATA(header), (size_t)count * sizeof(int));
    return count;
}

// Hands a listener to the server behind a file. The end of a socket that lasts as long as it serves, or -1 and errno.
static int hand_over(int listener, int file, const uint64_t **slots) {
    int ends[2];
    // What the server says comes line by line.
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return -1;
    char text[64];
    int length = snprintf(text, sizeof text, "%d %d\n", listener, ends[1]);
    ssize_t written = write(file, text, (size_t)length);
    int error = errno;
    close(ends[1]);
    if (written == length) {
        int memory;
        if (receive(ends[0], &memory, 1) == 1) {
            const void *mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, 0);
            if (mapped != MAP_FAILED) *slots = mapped;
            close(memory);
        }
        return ends[0];
    }
    close(ends[0]);
    errno = error;
    return -1;
}

// Passes on what the server says, and waits for its end. 0 where the last program has ended first.
static int outlives_server(int listener, int server) {
    struct pollfd entries[2] = {{.fd = server, .events = POLLIN}, {.fd = listener}};
    while (1) {
        if (poll(entries, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return 1;
        }
        if (entries[1].revents & (POLLHUP | POLLERR)) return 0;
        char line[CLISTENER_LINE + 1];
        ssize_t length = entries[0].revents & POLLIN ? recv(server, line, CLISTENER_LINE, MSG_DONTWAIT) : 0;
        if (length > 0) {
            line[length] = 0;
            say(line, 0);
        } else if (entries[0].revents) {
            // Programs that end take the mount, and so the server, along.
            struct pollfd last = {.fd = listener};
            return !(poll(&last, 1, 200) == 1 && last.revents & POLLHUP);
        }
    }
}

// Has the kernel do every call from now on, until no program is left.
static void pass_all(int listener, const uint64_t *slots) {
    // Those that the server has received and not answered.
    if (slots)
        for (int i = 0; i < CLISTENER_SLOTS; i++)
            if (slots[i]) clistener_pass(listener, slots[i]);
    int is_first = 1;
    struct clistener_call call;
    while (1) {
        if (clistener_receive(listener, -1, &call)) {
            if (errno == ENOENT) continue;
            return;
        }
        // One that the server had received when it ended, before it could say so: the numbers ascend.
        for (uint64_t back = 1; is_first && back <= 64; back++) clistener_pass(listener, call.id - back);
        is_first = 0;
        clistener_pass(listener, call.id);
    }
}

static void keep(int socket) {
    setsid();
    prctl(PR_SET_NAME, "cdmfs-keeper");
    // Lets a server of the same user take the listener where Yama is strict.
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    prctl(PR_SET_DUMPABLE, 1);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir("/")) return;
    // Only what it says goes anywhere: the pipes of others end with the programs.
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(socket, 3);
    close_range(4, ~0U, 0);
    int files[2];
    if (receive(3, files, 2) != 2) return;
    close(3);
    const uint64_t *slots = NULL;
    int server = hand_over(files[0], files[1], &slots);
    int error = errno;
    close(files[1]);
    if (server < 0)
        say("calls of programs act on the host, for the daemon does not take them", error);
    else if (!outlives_server(files[0], server))
        return;
    else
        say("the daemon has ended; programs go on, and their calls act on the host", 0);
    pass_all(files[0], slots);
}

int clistener_start_keeper(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) return -1;
    pid_t child = fork();
    if (child == 0) {
        // A grandchild: the command that this process becomes has no child that it did not make.
        close(ends[0]);
        if (fork() == 0) keep(ends[1]);
        _exit(0);
    }
    int error = errno;
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        errno = error;
        return -1;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return ends[0];
}
